"""Ordinary traffic in which nothing is left open.

`polling`: clients wait long for an answer, give up and ask again. `websocket`: chats that
stay open, and some that end with a goodbye. `linger`: a server that ends connections by a
reset. `keepalive`: requests on connections that are kept.
"""

import asyncio
import http.client
import http.server
import socket
import struct
import sys
import time

import incident

form = sys.argv[1]


def polls():
    from aiohttp import web

    async def wait_for_news(request):
        await asyncio.sleep(3600)
        return web.Response()

    application = web.Application()
    application.add_routes([web.get("/", wait_for_news)])
    web.run_app(application, host="127.0.0.1", port=8080, print=None, handle_signals=False)


def chats():
    from websockets.sync.server import serve

    def echo(connection):
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 8080) as server:
        server.serve_forever()


def resets():
    def serve(connection):
        while connection.recv(100):
            pass
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    incident.server(serve, port=8080)
    incident.forever()


def keeps():
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()


def poll():
    client = socket.create_connection(("127.0.0.1", 8080))
    client.sendall(b"GET / HTTP/1.1\r\nHost: news\r\n\r\n")
    time.sleep(1.5)
    client.close()


def chat():
    from websockets.sync.client import connect

    with connect("ws://127.0.0.1:8080") as connection:
        for _ in range(15):
            connection.send("hello")
            assert connection.recv() == "hello"
            time.sleep(0.1)


def say_little():
    with socket.create_connection(("127.0.0.1", 8080)) as client:
        client.sendall(b"hello")
    time.sleep(0.2)


def browse():
    connection = http.client.HTTPConnection("127.0.0.1", 8080)
    for _ in range(15):
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"ok"
        time.sleep(0.1)
    connection.close()


def again_and_again(what):
    while True:
        what()
        rounds.append(what)


server, client = {
    "polling": (polls, poll), "websocket": (chats, chat), "linger": (resets, say_little), "keepalive": (keeps, browse),
}[form]
incident.apart(server)
incident.listens(8080)
rounds = []
for _ in range(5):
    incident.background(again_and_again, client)
incident.until("some are over", lambda: len(rounds) >= 10)
incident.done()
