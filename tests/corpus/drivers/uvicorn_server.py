"""uvicorn, and clients that leave early.

`ignored`: their uploads are not taken, uvicorn stops reading for want of room, and so it
cannot see that they have left. `streams`: they read news for a while.
"""

import fcntl
import socket
import struct
import sys
import termios
import time

import incident

form = sys.argv[1]
uvicorn = incident.start(
    sys.executable, "-m", "uvicorn", "--app-dir", incident.HERE, "--host", "127.0.0.1", "--port", "8080",
    "--no-access-log", "uvicorn_app:app",
)
incident.listens(8080)


def unsent(client):
    return struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, b"\0" * 4))[0]


def upload():
    client = socket.create_connection(("127.0.0.1", 8080))
    client.sendall(b"POST / HTTP/1.1\r\nHost: store\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 100_000)
    incident.until("uvicorn has all of it", lambda: unsent(client) == 0)
    return client


def listen():
    with socket.create_connection(("127.0.0.1", 8080)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: news\r\n\r\n")
        for _ in range(3):
            assert client.recv(1000)


def listen_again_and_again():
    while True:
        listen()


if form == "streams":
    incident.background(listen_again_and_again)
    until = time.monotonic() + 3
    incident.until("some have listened", lambda: time.monotonic() > until)
    incident.done()

clients = [upload() for _ in range(5)]
until = time.monotonic() + 1
incident.until("uvicorn has stopped reading", lambda: time.monotonic() > until)
for client in clients:
    client.sendall(b"y" * 20_000)
    client.close()
incident.holder(uvicorn.pid)
incident.stuck(5)
incident.done(5)
