"""The application of gunicorn.py: what it asks for never answers, or answers at once."""

import os
import socket


def query_inventory():
    # A database that has accepted the connection and says nothing: no timeout was set.
    with socket.create_connection(("127.0.0.1", 5999)) as backend:
        return backend.recv(100)


def app(environ, start_response):
    if os.environ["FORM"] == "blocked" or environ["PATH_INFO"] == "/slow":
        query_inventory()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
