"""An application with about two hundred connections to several servers, which close what
is idle for four seconds.

The servers on 80 and 8788 only close (Recv-Q 1), the one on 443 says 37 bytes of goodbye
first (Recv-Q 38), and what the one on 8080 closes is read to its end (Recv-Q 0).
`bounded`: the same without 8080.
"""

import asyncio
import socket
import sys

import incident

form = sys.argv[1]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GOODBYE = b"HTTP/1.1 408 Request Timeout: goodbye"
# 199 in all
FLEET = {80: 61, 443: 53, 8788: 42} | ({} if form == "bounded" else {8080: 43})


def serve_for_ever():
    async def serve(port, reader, writer):
        try:
            while await asyncio.wait_for(reader.read(65536), 4):
                writer.write(ANSWER)
        except asyncio.TimeoutError:
            pass
        if port == 443:
            writer.write(GOODBYE)
        writer.close()

    async def listen():
        for port in FLEET:
            await asyncio.start_server(lambda r, w, port=port: serve(port, r, w), "127.0.0.1", port, backlog=200)
        await asyncio.Event().wait()

    asyncio.run(listen())


incident.apart(serve_for_ever)
for port in FLEET:
    incident.listens(port)
incident.holder()
assert len(GOODBYE) == 37, len(GOODBYE)
sessions = []


def report_metrics(port):
    session = socket.create_connection(("127.0.0.1", port))
    session.sendall(b"POST /metrics HTTP/1.1\r\nHost: metrics\r\nContent-Length: 0\r\n\r\n")
    assert session.recv(1000) == ANSWER
    sessions.append(session)
    if port == 8080:
        incident.background(drain, session)


def drain(session):
    while session.recv(1000):
        pass


for port, count in FLEET.items():
    for _ in range(count):
        report_metrics(port)
incident.stuck(sum(FLEET.values()))


def unread(session):
    return len(session.recv(1000, socket.MSG_PEEK | socket.MSG_DONTWAIT))


waiting = [session for session in sessions if session.getpeername()[1] == 443]
incident.until("the goodbyes are there", lambda: all(unread(session) == 37 for session in waiting))
incident.done(len(sessions))
