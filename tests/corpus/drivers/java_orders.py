"""A Java server with blocking sockets (Orders.java); clients poll and close.

`leaking`: its error path does not close. `fixed`: it does.
"""

import os
import socket
import sys

import incident

form = sys.argv[1]
java = incident.start("java", "-Xmx128m", "-XX:+UseSerialGC", os.path.join(incident.HERE, "Orders.java"), form)
incident.listens(8080, 60)
for number in range(11):
    with socket.create_connection(("127.0.0.1", 8080)) as client:
        client.sendall(b"7\n")
        assert client.recv(100).startswith(b"taken")
if form == "leaking":
    incident.holder(java.pid)
    incident.stuck(11)
    incident.done(11)
incident.until("the server closed too", lambda: incident.close_wait() == 0)
incident.done(0)
