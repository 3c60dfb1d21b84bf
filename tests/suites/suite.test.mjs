// A test suite in JavaScript, run by `node --test`: a client of a server that hangs up.
// With SUITE_LEAKS set it forgets to close.

import assert from 'node:assert';
import { once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import { setTimeout } from 'node:timers/promises';

// Accepts one connection and hangs up.
async function server() {
  const listener = net.createServer((connection) => {
    connection.destroy();
    listener.close();
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return listener.address();
}

async function fetchQuote({ address, port }) {
  const socket = net.connect({ host: address, port, allowHalfOpen: true });
  socket.resume();
  await once(socket, 'end');
  return socket;
}

test('a quote is fetched', async () => {
  const socket = await fetchQuote(await server());
  assert.strictEqual(socket.bytesRead, 0);
  if (process.env.SUITE_LEAKS) {
    socket.unref();
  } else {
    socket.destroy();
  }
});

test('takes half a second', () => setTimeout(500));
