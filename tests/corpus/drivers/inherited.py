"""A server that starts a program for each request and closes its own end.

`inherited`: the program gets a copy of the connection, and stays. `fixed`: nothing is
inheritable. `shutdown`: it is inherited, but the server calls shutdown() first: the end of
the connection reaches both, only the descriptor is left. `shutdown-late`: the same, after
the client has closed. `forked`: requests are answered, and a job that is forked then keeps
the connections that its parent closes.
"""

import socket
import sys
import time

import incident

form = sys.argv[1]
listener = socket.create_server(("127.0.0.1", 8080))


def start_report(connection):
    connection.recv(100)
    if form != "fixed":
        connection.set_inheritable(True)
    job = incident.start("sleep", "1000", close_fds=form == "fixed")
    if form == "shutdown":
        connection.sendall(b"started\n")
        connection.shutdown(socket.SHUT_RDWR)
    if form != "shutdown-late":
        connection.close()
    return job


def answer(connection):
    connection.recv(100)
    a_moment()
    connection.sendall(b"planned\n")


def a_moment():
    until = time.monotonic() + 0.1
    incident.until("a moment has passed", lambda: time.monotonic() > until)


def ask():
    client = socket.create_connection(("127.0.0.1", 8080))
    client.sendall(b"report")
    return client


def is_over():
    return not any(state in (1, 4, 5, 8, 9) for _, _, state in incident.sockets())


if form == "forked":
    clients = [ask() for _ in range(3)]
    connections = [listener.accept()[0] for _ in clients]
    for connection in connections:
        answer(connection)
    a_moment()
    incident.holder(incident.apart(incident.forever, leaving=clients))
    for connection, client in zip(connections, clients):
        connection.close()
        assert client.recv(100) == b"planned\n"
        client.close()
    incident.stuck(3)
    incident.done(3)

for _ in range(3):
    client = ask()
    connection, _ = listener.accept()
    job = start_report(connection)
    if form != "fixed":
        incident.holder(job.pid)
    if form == "shutdown":
        client.recv(100)
    client.close()
    if form == "shutdown-late":
        incident.stuck(1)
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()

if form == "inherited":
    incident.stuck(3)
    incident.done(3)
if form.startswith("shutdown"):
    incident.until("the connections have ended", is_over)
    incident.done(0, ghosts=3)
incident.done(0)
