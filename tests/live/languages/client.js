// A client six functions deep where it connects. It asks for what net.connect() would ask for
// on a later turn of the event loop, when no function of the program is on the stack; where
// it reads there are none: the loop reads, and calls what waits for that only when it has.
const { TCP, TCPConnectWrap, constants } = process.binding('tcp_wrap');
const [, , , count, , port] = process.argv;
let taken = 1;
const kept = [];
function leakHere(done) {
	const socket = new TCP(constants.SOCKET);
	const request = new TCPConnectWrap();
	request.oncomplete = done;
	taken += socket.connect(request, '127.0.0.1', Number(port));
	return socket;
}
function takeOne(done) { const socket = leakHere(done); taken += 3; return socket; }
class Handler { handle(done) { const socket = takeOne(done); taken += 5; return socket; } }
function dispatch(h, done) { const socket = h.handle(done); taken += 7; return socket; }
function serve(h, done) { const socket = dispatch(h, done); taken += 11; return socket; }
function runServer(h, done) { const socket = serve(h, done); taken += 13; return socket; }
console.log(`ready port=${port} pid=${process.pid}`);
function next(left) {
	if (left === 0) {
		console.log(`done leaked=${count} closed=0`);
		process.stdin.resume();
		return;
	}
	const socket = runServer(new Handler(), () => {
		// The server sends nothing: this is its end.
		socket.onread = () => next(left - 1);
		socket.readStart();
	});
	kept.push(socket);
}
next(Number(count));
process.stdin.on('end', () => process.exit(0));
