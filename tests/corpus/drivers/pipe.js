// A proxy as people write it: what comes is piped to the store, what the store says back.
const net = require("net");

net.createServer(function serveUpload(client) {
  const store = net.connect(5999, "127.0.0.1");
  client.pipe(store).pipe(client);
  client.on("error", () => store.destroy());
  store.on("error", () => client.destroy());
}).listen(8080, "127.0.0.1");
