"""A Go server (orders.go) and a thousand clients.

`leaking`: close is forgotten. `fixed`: it is not.
"""

import socket
import sys
import time

import incident

CLIENTS = 1000
form = sys.argv[1]
server = incident.start(incident.go("orders.go"), form)
incident.listens(8080)
clients = [socket.create_connection(("127.0.0.1", 8080)) for _ in range(CLIENTS)]
for client in clients:
    client.sendall(b"7\n")
for client in clients:
    assert client.recv(100).startswith(b"taken")
# Nobody connects only to leave in the same second.
answered = time.monotonic()
incident.until("they have stayed a little", lambda: time.monotonic() > answered + 1.5)
for client in clients:
    client.close()
if form == "leaking":
    incident.holder(server.pid)
    incident.stuck(CLIENTS)
    incident.done(CLIENTS)
incident.until("the server closed too", lambda: incident.close_wait() == 0)
incident.done(0)
