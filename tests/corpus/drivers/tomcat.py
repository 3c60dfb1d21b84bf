"""Tomcat with two threads (Shop.java).

`exhausted`: both wait for a warehouse that never answers, and nine clients have given up.
`fixed`: it answers.
"""

import socket
import sys

import incident

JARS = ["tomcat10-embed-core", "tomcat10-annotations-api"]
form = sys.argv[1]
silent = []


def answer(connection):
    if form == "fixed":
        connection.sendall(b"7")
        connection.close()
    else:
        silent.append(connection)


incident.server(answer, port=5999)
tomcat = incident.java("Shop.java", incident.scratch(), jars=JARS)
incident.listens(8080, 120)


def ask():
    client = socket.create_connection(("127.0.0.1", 8080))
    client.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
    return client


if form == "fixed":
    for _ in range(9):
        with ask() as client:
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
    incident.until("the server closed too", lambda: incident.close_wait() == 0)
    incident.done(0)

clients = [ask(), ask()]
incident.until("both threads ask the warehouse", lambda: len(silent) == 2)
clients += [ask() for _ in range(7)]
for client in clients:
    client.close()
incident.holder(tomcat.pid)
incident.stuck(9)
incident.done(9)
