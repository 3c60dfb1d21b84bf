"""A session of requests to a server that closes what is idle.

`bounded`: five workers use one session again and again, with pauses that are longer than
the server's patience. `growing`: a session for each call, kept for ever. `closed`: the same,
each session closed.
"""

import sys
import threading
import time

import requests

import idle_server
import incident

form = sys.argv[1]


incident.apart(idle_server.serve_for_ever, 8000, 1.0)
incident.listens(8000)
incident.holder()
URL = "http://127.0.0.1:8000/"

if form == "bounded":
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=5))
    together = threading.Barrier(5)

    def poll_status():
        while True:
            with session.get(URL, stream=True) as answer:
                # Each has a connection, which a quicker one could else give on to the next.
                together.wait()
                assert answer.text == "ok"
            time.sleep(20)

    for _ in range(5):
        incident.background(poll_status)
    incident.stuck(5)
    incident.done()

kept = []


def fetch_quote():
    session = requests.Session()
    assert session.get(URL).text == "ok"
    if form == "closed":
        session.close()
    else:
        kept.append(session)


def fetch_again_and_again():
    while True:
        fetch_quote()
        time.sleep(1)


incident.background(fetch_again_and_again)
if form == "growing":
    incident.stuck(5)
    incident.done()
until = time.monotonic() + 3
incident.until("it has fetched", lambda: time.monotonic() > until)
incident.done(0)
