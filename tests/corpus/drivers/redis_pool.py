"""A redis-py pool whose Redis has `timeout 1`.

`bounded`: seven connections, all idle. `keepalive`: the same with keepalive on, as redis-py
has it since version 8: when Redis's end is forgotten, a probe is answered by a reset.
`fixed`: used more often than Redis waits.
"""

import socket
import sys
import threading
import time

import redis

import incident

form = sys.argv[1]
conf = incident.write("port 6379\nbind 127.0.0.1\ntimeout 1\nsave ''\ndaemonize no\nlogfile ''\n", "redis.conf")
incident.start("redis-server", conf)
incident.listens(6379)

if form == "keepalive":
    # A minute, else, before the kernel forgets Redis's end.
    with open("/proc/sys/net/ipv4/tcp_fin_timeout", "w") as file:
        file.write("5")
probes = {socket.TCP_KEEPIDLE: 3, socket.TCP_KEEPINTVL: 3} if form == "keepalive" else {}
pool = redis.ConnectionPool(
    host="127.0.0.1", port=6379, max_connections=7,
    socket_keepalive=form == "keepalive",
    socket_keepalive_options=probes,
)
client = redis.Redis(connection_pool=pool)
together = threading.Barrier(7)


def count_visit():
    with client.client() as connection:
        connection.ping()
        together.wait()


def burst():
    workers = [threading.Thread(target=count_visit) for _ in range(7)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


burst()
incident.holder()
if form == "bounded":
    incident.stuck(7)
    incident.done(7)
if form == "keepalive":
    incident.stuck(7)
    incident.until("probes were answered by resets", lambda: incident.close_wait() == 0, 85)
    incident.done(0, ghosts=7)


def use():
    while True:
        burst()
        time.sleep(0.3)


incident.background(use)
incident.done(0)
