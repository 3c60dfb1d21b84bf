"""gunicorn with two sync workers.

`blocked`: both wait for a database without a timeout; five clients gave up: two of a
request that a worker has read, three whom nobody has accepted. `fixed`: the application
answers.
"""

import os
import socket
import sys

import incident

form = sys.argv[1]
silent = []
incident.server(silent.append, port=5999)

incident.start(
    sys.executable, "-m", "gunicorn", "--chdir", incident.HERE, "--workers", "2", "--timeout", "300",
    "--bind", "127.0.0.1:8000", "--worker-tmp-dir", incident.scratch(), "gunicorn_app:app",
    env=os.environ | {"FORM": form},
)
incident.listens(8000)


def ask():
    client = socket.create_connection(("127.0.0.1", 8000))
    client.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    return client


clients = [ask(), ask()]
if form == "blocked":
    incident.until("both workers ask the database", lambda: len(silent) == 2)
    clients += [ask(), ask(), ask()]
    for client in clients:
        client.close()
    incident.stuck(5)
    incident.done(5)

for client in clients:
    assert client.recv(100).startswith(b"HTTP/1.1 200")
    client.close()
incident.until("gunicorn closed too", lambda: incident.close_wait() == 0)
incident.done(0)
