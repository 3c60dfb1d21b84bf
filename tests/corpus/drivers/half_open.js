// A server that keeps its half of a connection: `fixed` ends it when the client has,
// `blocked` waits inside a callback instead of coming back to its loop.
const net = require("net");

const form = process.argv[2];
const sessions = [];

function onRequest(socket) {
  sessions.push(socket);
  socket.on("data", (line) => {
    socket.write(`taken ${line}`);
    if (form === "blocked") {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    }
  });
  socket.on("error", () => {});
  if (form === "fixed") {
    socket.on("end", () => socket.end());
  }
}

net.createServer({ allowHalfOpen: true }, onRequest).listen(8080, "127.0.0.1");
