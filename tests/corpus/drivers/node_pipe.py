"""A Node proxy (pipe.js) before a store.

`stalled`: the store takes nothing, so that the proxy stops reading, and cannot see that its
clients have left. `fixed`: the store takes all, and closes when the proxy has.
"""

import os
import socket
import sys
import time

import incident

form = sys.argv[1]
kept = []

# What the proxy has written to the store waits in the kernel, which keeps little.
with open("/proc/sys/net/ipv4/tcp_wmem", "w") as file:
    file.write("4096 16384 16384")
with open("/proc/sys/net/ipv4/tcp_rmem", "w") as file:
    file.write("4096 65536 65536")


def store(connection):
    kept.append(connection)
    while form == "fixed" and connection.recv(65536):
        pass
    if form == "fixed":
        connection.close()


incident.server(store, port=5999)
node = incident.start("node", os.path.join(incident.HERE, "pipe.js"))
incident.listens(8080)


def unread(port):
    """Bytes of a client that the proxy has not read."""
    with open("/proc/self/net/tcp") as file:
        for row in file.readlines()[1:]:
            local, remote, _, queues = row.split()[1:5]
            if (int(local.split(":")[1], 16), int(remote.split(":")[1], 16)) == (8080, port):
                return int(queues.split(":")[1], 16)
    return 0


def upload():
    client = socket.create_connection(("127.0.0.1", 8080))
    port = client.getsockname()[1]
    reading = time.monotonic()
    # Until nothing has been read for half a second.
    while form == "stalled" and time.monotonic() - reading < 0.5:
        if unread(port) == 0:
            client.sendall(b"x" * 4000)
            reading = time.monotonic()
    client.sendall(b"x" * 4000)
    client.close()


for _ in range(3):
    upload()
incident.are_kept(3, node, form == "fixed")
