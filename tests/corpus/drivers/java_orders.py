"""A Java server with blocking sockets (Orders.java); clients poll and close.

`leaking`: its error path does not close, and it has worked for a while. `cold`: the same,
but it has just been started, and the JVM still interprets it. `fixed`: it closes.
`thousand` and `thousand-fixed`: a thousand threads and as many clients at a time.
"""

import socket
import sys

import incident

form = sys.argv[1]
is_thousand = form.startswith("thousand")
is_fixed = form.endswith("fixed")
CLIENTS = 1000 if is_thousand else 11
# What has been called some hundred times is compiled, and here before it is called again.
at_once = ["-XX:-BackgroundCompilation"] if form == "leaking" else []
threads = CLIENTS if is_thousand else 4
java = incident.java("Orders.java", "fixed" if is_fixed else "leaking", threads, options=at_once)
incident.listens(8080, 120)


def connect():
    return socket.create_connection(("127.0.0.1", 8080))


def order(client):
    client.sendall(b"7\n")
    assert client.recv(100).startswith(b"taken")


if form == "leaking":
    for _ in range(400):
        with connect() as client:
            for _ in range(10):
                order(client)
            client.sendall(b"quit\n")
            assert client.recv(100) == b""

clients = []
for number in range(CLIENTS):
    clients.append(connect())
    order(clients[-1])
    if not is_thousand:
        clients.pop().close()
for number, client in enumerate(clients):
    client.close()
    # Not a thousand exceptions at once, on a machine that may be slow.
    if is_fixed and number % 100 == 0:
        incident.until("the server closed too", lambda: incident.close_wait() == 0)
incident.are_kept(CLIENTS, java, is_fixed)
