"""Opens connections and reads their end, each six Python functions deep.

deep_python.py --leak N [--in thread|asyncio|two]   a server: accepts, reads to the end, forgets
deep_python.py --port PORT --leak N                 a client of http.client that forgets

It speaks as the other scenario programs do: see scenario.h.
"""
import os
import signal
import socket
import sys
import threading

kept = []


def say(*words):
    print(*words, flush=True)


def keep(sock, port):
    kept.append(sock)
    say("leak", f"pid={os.getpid()}", f"fd={sock.fileno()}", f"port={port}")


def leak_here(listener):
    sock, _ = listener.accept()
    return sock


def take_one(listener):
    return leak_here(listener)


class Handler:
    def handle(self, listener):
        return take_one(listener)


def dispatch(call, listener):
    return call(listener)


def serve(listener):
    return dispatch(Handler().handle, listener)


def run_server(listener):
    return serve(listener)


def read_on(sock):
    while sock.recv(256):
        pass
    return sock


def fill_buffer(sock):
    return read_on(sock)


def parse_line(sock):
    return [fill_buffer(one) for one in (sock,)][0]


def next_request(sock):
    return parse_line(sock)


def converse(sock):
    # A generator: the interpreter resumes it through C.
    yield next_request(sock)


def run_client(sock):
    return next(converse(sock))


# Two ways to the same accept: called as deeply, by calls of the same kind.
def first_way(listener):
    return take_one(listener)


def second_way(listener):
    return take_one(listener)


def accept_all(leak, listener, two):
    for number in range(leak):
        if two:
            sock = first_way(listener) if number % 2 else second_way(listener)
        else:
            sock = run_server(listener)
        keep(run_client(sock), sock.getpeername()[1])


def by_event_loop(leak, listener):
    import asyncio

    class Connection(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def eof_received(self):
            sock = self.transport.get_extra_info("socket")
            keep(sock, sock.getpeername()[1])
            if len(kept) == leak:
                done.set_result(None)
            return True  # keeps it open

    async def wait_for_all():
        nonlocal done
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        await loop.create_server(Connection, sock=listener)
        await done
        ended(leak)

    done = None
    asyncio.run(wait_for_all())


class Pool:
    def __init__(self, port):
        self.port = port

    def lease(self):
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.connect()
        return connection.sock


def call_server(leak, port):
    pool = Pool(port)
    for _ in range(leak):
        sock = pool.lease()
        keep(run_client(sock), sock.getsockname()[1])


def ended(leak):
    say("done", f"leaked={leak}", "closed=0")
    obey()


def obey():
    for line in sys.stdin:
        if line == "close\n":
            for sock in kept:
                sock.close()
            say("closed", f"count={len(kept)}")
    os._exit(0)


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    leak, way = int(options["--leak"]), options.get("--in")
    if "--port" in options:
        call_server(leak, int(options["--port"]))
        return ended(leak)
    if way == "asyncio":
        # Takes seconds in an emulated machine, in which nobody would accept.
        import asyncio  # noqa: F401
    listener = socket.create_server(("127.0.0.1", 0))
    say("ready", f"port={listener.getsockname()[1]}", f"pid={os.getpid()}")
    if way == "asyncio":
        return by_event_loop(leak, listener)
    if way == "thread":
        worker = threading.Thread(target=accept_all, args=(leak, listener, False))
        worker.start()
        worker.join()
    else:
        accept_all(leak, listener, way == "two")
    ended(leak)


main()
