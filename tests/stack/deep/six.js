// Six functions deep, and then for ever in read().
const fs = require('fs');
let deep = false;
let taken = 1;
function leakHere() { const b = Buffer.alloc(1); taken += deep ? fs.readSync(0, b, 0, 1) : 1; return taken; }
function takeOne() { return leakHere() * 3 + taken; }
class Handler { handle() { return takeOne() * 5 + taken; } }
function dispatch(h) { return h.handle() * 7 + taken; }
function serve(h) { return dispatch(h) * 11 + taken; }
function runServer(h) { return serve(h) * 13 + taken; }
const handler = new Handler();
runServer(handler);
deep = true;
runServer(handler);
