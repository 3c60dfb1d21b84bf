// Clients of a server that closes what was idle for a second. `agent`: Node's own, with
// keepAlive. `undici`: a pool.
const http = require("http");

const form = process.argv[2];

function agent() {
  const shared = new http.Agent({ keepAlive: true, maxSockets: 5 });
  setInterval(() => {
    for (let i = 0; i < 5; i++) {
      http.get({ port: 8000, host: "127.0.0.1", agent: shared }, (answer) => answer.resume());
    }
  }, 3000);
}

function undici() {
  const { Pool } = require("undici");
  const pool = new Pool("http://127.0.0.1:8000", { connections: 5 });
  setInterval(() => {
    for (let i = 0; i < 5; i++) {
      pool.request({ path: "/", method: "GET" }).then(({ body }) => body.dump());
    }
  }, 3000);
}

({ agent, undici })[form]();
