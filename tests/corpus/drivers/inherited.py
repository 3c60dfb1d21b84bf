"""A server that starts a program for each request and closes its own end.

`inherited`: the program gets a copy of the connection, and stays. `fixed`: nothing is
inheritable. `shutdown`: it is inherited, but the server calls shutdown() first: the end of
the connection reaches both, only the descriptor is left.
"""

import socket
import sys

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
    connection.close()
    return job


def ask():
    client = socket.create_connection(("127.0.0.1", 8080))
    client.sendall(b"report")
    return client


for _ in range(3):
    client = ask()
    connection, _ = listener.accept()
    job = start_report(connection)
    if form != "fixed":
        incident.holder(job.pid)
    if form == "shutdown":
        client.recv(100)
    client.close()

if form == "inherited":
    incident.stuck(3)
    incident.done(3)
if form == "shutdown":
    incident.until("the connections have ended", lambda: not any(s in (1, 4, 5, 8, 9) for _, _, s in incident.sockets()))
    incident.done(0)
incident.done(0)
