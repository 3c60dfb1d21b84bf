"""A threaded HTTP server whose answers take as long as its database does, and clients
that wait for a second.

`slow`: the database does not answer. `fixed`: it does.
"""

import http.server
import socket
import sys

import incident

form = sys.argv[1]


def query_stock():
    with socket.create_connection(("127.0.0.1", 5999)) as database:
        return database.recv(100)


class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query_stock()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def serve_for_ever():
    http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Shop).serve_forever()


silent = []


def answer(connection):
    if form == "fixed":
        connection.sendall(b"7")
        connection.close()
    else:
        silent.append(connection)


incident.server(answer, port=5999)
server = incident.apart(serve_for_ever)
incident.listens(8080)


def ask():
    with socket.create_connection(("127.0.0.1", 8080), timeout=1) as client:
        client.sendall(b"GET /stock HTTP/1.0\r\n\r\n")
        try:
            while client.recv(1000):
                pass
            return True
        except TimeoutError:
            return False


for _ in range(5):
    assert ask() == (form == "fixed")
if form == "fixed":
    incident.until("the server closed too", lambda: incident.close_wait() == 0)
    incident.done(0)
incident.holder(server)
incident.stuck(5)
incident.done(5)
