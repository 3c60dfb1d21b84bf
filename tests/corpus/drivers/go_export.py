"""A Go server (export.go) whose clients leave before they get an answer.

`leaking`: its handlers go on. `fixed`: they end when their clients have left.
"""

import socket
import sys

import incident

form = sys.argv[1]
server = incident.start(incident.go("export.go"), form)
incident.listens(8080)


def is_asked(count):
    return sum(row[0] == 8080 and row[2] == 1 for row in incident.sockets()) == count


clients = []
for _ in range(7):
    clients.append(socket.create_connection(("127.0.0.1", 8080)))
    clients[-1].sendall(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
incident.until("all have asked", lambda: is_asked(7))
for client in clients:
    client.close()
incident.are_kept(7, server, form == "fixed")
