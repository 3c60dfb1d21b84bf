"""A client whose connections are closed by the server, and which connects anew each time.

`told`: it reads the end, keeps the old one, and goes on until it has no descriptors left.
`unread`: the same, but nothing is read. `ports`: it runs out of local ports instead.
`ghosts`: like `told`, but it tries to say something more on the old one, which is answered
by a reset. `closed`: it closes what the server has closed.
"""

import errno
import resource
import socket
import sys

import incident

form = sys.argv[1]


def serve_for_ever():
    with socket.create_server(("127.0.0.1", 9092), backlog=200) as listener:
        while True:
            listener.accept()[0].close()


incident.apart(serve_for_ever)
incident.listens(9092)
incident.holder()
sessions = []


def reconnect():
    session = socket.create_connection(("127.0.0.1", 9092))
    if form != "unread":
        assert session.recv(100) == b""
    if form == "closed":
        session.close()
    else:
        sessions.append(session)
    if form == "ghosts":
        session.sendall(b"still there?")


def is_reset(session):
    closed = 7
    return session.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == closed


if form in ("told", "unread", "ghosts"):
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
if form == "ports":
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
        file.write("40000 40099")

if form == "closed":
    for _ in range(200):
        reconnect()
    incident.done(0)

try:
    while True:
        reconnect()
except OSError as error:
    want = errno.EADDRNOTAVAIL if form == "ports" else errno.EMFILE
    if error.errno != want:
        raise

incident.say("exhausted", sessions=len(sessions))
if form == "ghosts":
    # No descriptor is left to look into /proc with.
    incident.until("all were reset", lambda: all(map(is_reset, sessions)))
    incident.done(0, ghosts=len(sessions))
incident.done(len(sessions))
