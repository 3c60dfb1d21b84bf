"""A Node client (agent.js), with `agent` or `undici`, of a server that closes what was idle for a second."""

import os
import sys
import time

import idle_server
import incident

form = sys.argv[1]
incident.apart(idle_server.serve_for_ever, 8000, 1.0)
incident.listens(8000)
incident.start("node", os.path.join(incident.HERE, "agent.js"), form)
incident.until("it has asked", lambda: any(row[1] == 8000 and row[2] == 1 for row in incident.sockets()))
until = time.monotonic() + 4
incident.until("the server has closed what was idle", lambda: time.monotonic() > until)
incident.done(0)
