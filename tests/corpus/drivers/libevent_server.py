"""A server on libevent (event_orders.c); clients order and leave.

`leaking`: it thinks of errors only, and of no end. `fixed`: it frees what has ended.
"""

import socket
import sys

import incident

form = sys.argv[1]
server = incident.start(incident.c("event_orders.c", "-levent"), form)
incident.listens(8080)
for _ in range(7):
    with socket.create_connection(("127.0.0.1", 8080)) as client:
        client.sendall(b"7\n")
        assert client.recv(100) == b"taken\n"
incident.are_kept(7, server, form == "fixed")
