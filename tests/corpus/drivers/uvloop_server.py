"""A server on uvloop (uvloop_app.py); clients order and leave.

`leaking`: it keeps what it talks to them by. `fixed`: it closes that when they have left.
"""

import os
import socket
import sys

import incident

form = sys.argv[1]
server = incident.start(sys.executable, os.path.join(incident.HERE, "uvloop_app.py"), form)
incident.listens(8080)
for _ in range(7):
    with socket.create_connection(("127.0.0.1", 8080)) as client:
        client.sendall(b"7\n")
        assert client.recv(100) == b"taken\n"
incident.are_kept(7, server, form == "fixed")
