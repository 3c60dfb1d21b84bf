"""A server with room for two hundred that wait, and a hundred clients with half a second
of patience.

`busy`: its only thread works on the first request for ever. `fixed`: it answers each.
"""

import socket
import sys

import incident

CLIENTS = 101
form = sys.argv[1]


def work_for_ever():
    with socket.create_server(("127.0.0.1", 8080), backlog=200) as listener:
        while True:
            connection, _ = listener.accept()
            resize_picture(connection)
            connection.close()


def resize_picture(connection):
    connection.recv(100)
    if form == "busy":
        incident.forever()
    connection.sendall(b"done")


# More may wait than is allowed by default on old kernels.
with open("/proc/sys/net/core/somaxconn", "w") as file:
    file.write("4096")
server = incident.apart(work_for_ever)
incident.listens(8080)


def ask():
    client = socket.create_connection(("127.0.0.1", 8080))
    client.sendall(b"picture")
    return client


if form == "fixed":
    for _ in range(CLIENTS):
        with ask() as client:
            assert client.recv(100) == b"done"
    incident.until("the server closed too", lambda: incident.close_wait() == 0)
    incident.done(0)

clients = [ask() for _ in range(CLIENTS)]
for client in clients:
    client.settimeout(0.5)
try:
    clients[0].recv(100)
except TimeoutError:
    pass
for client in clients:
    client.close()
incident.stuck(CLIENTS)
incident.done(CLIENTS)
