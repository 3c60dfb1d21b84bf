"""A Go client (fetch.go) of a server that closes what was idle for a second.

`leaking`: Body.Close is forgotten. `fixed`: it is not.
"""

import sys
import time

import idle_server
import incident

form = sys.argv[1]
# Go has keepalive on: a probe after the kernel has forgotten the server's end is answered
# by a reset, and the socket would be gone.
with open("/proc/sys/net/ipv4/tcp_fin_timeout", "w") as file:
    file.write("120")
incident.apart(idle_server.serve_for_ever, 8000, 1.0)
incident.listens(8000)
client = incident.start(incident.go("fetch.go"), form)
if form == "leaking":
    incident.holder(client.pid)
    incident.stuck(5)
    incident.done()
started = time.monotonic()
incident.until("it has asked some times", lambda: time.monotonic() > started + 3)
incident.done(0)
