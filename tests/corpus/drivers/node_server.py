"""A Node server (half_open.js); clients ask and close.

`leaking`: it keeps its half open and forgets it. `blocked`: its loop never turns again.
`fixed`: it ends its half.
"""

import os
import socket
import sys

import incident

form = sys.argv[1]
node = incident.start("node", os.path.join(incident.HERE, "half_open.js"), form)
incident.listens(8080)
for number in range(7):
    with socket.create_connection(("127.0.0.1", 8080)) as client:
        client.sendall(b"7\n")
        if number == 0 or form != "blocked":
            assert client.recv(100).startswith(b"taken")
incident.are_kept(7, node, form == "fixed")
