"""A Java client of a server that closes what was idle for a second.

`jdk`: the JDK's HttpClient (Prices.java). `pool`, `evicts` and `leaking`: Apache's
(PoolPrices.java).
"""

import sys
import time

import idle_server
import incident

APACHE = ["httpclient", "httpcore", "commons-logging", "commons-codec"]
form = sys.argv[1]
incident.apart(idle_server.serve_for_ever, 8000, 1.0)
incident.listens(8000)
if form == "jdk":
    client = incident.java("Prices.java")
else:
    client = incident.java("PoolPrices.java", form, jars=APACHE)
if form in ("pool", "leaking"):
    incident.holder(client.pid)
    incident.stuck(5)
    incident.done()


def asks():
    return any(8000 in row[:2] and row[2] == 1 for row in incident.sockets())


incident.until("it has asked", asks, 120)
until = time.monotonic() + 4
incident.until("the server has closed what was idle", lambda: time.monotonic() > until)
incident.done(0)
