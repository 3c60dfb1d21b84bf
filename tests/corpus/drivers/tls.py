"""TLS between requests and a server that says goodbye (close_notify) when it closes.

`pool`: five workers use one session again and again, with pauses that are longer than the
server's patience. `fixed`: each answer is the last of its connection, and both close.
"""

import os
import ssl
import subprocess
import sys
import threading
import time
import warnings

import requests

import incident

form = sys.argv[1]
warnings.simplefilter("ignore")
base = incident.scratch()
certificate, key = os.path.join(base, "certificate"), os.path.join(base, "key")
subprocess.run(
    ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
     "-keyout", key, "-out", certificate],
    check=True, stdout=sys.stderr,
)


def serve_for_ever():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)

    def serve(plain):
        connection = context.wrap_socket(plain, server_side=True)
        connection.settimeout(1)
        ending = b"Connection: close\r\n" if form == "fixed" else b""
        try:
            while connection.recv(65536):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + ending + b"\r\nok")
                if form == "fixed":
                    break
        except TimeoutError:
            pass
        # Its own goodbye; that of the client is not waited for.
        connection.settimeout(0)
        try:
            connection.unwrap()
        except OSError:
            pass
        connection.close()

    incident.server(serve, 8443)
    incident.forever()


incident.apart(serve_for_ever)
incident.listens(8443)
incident.holder()
session = requests.Session()
session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=5))
together = threading.Barrier(5)


def poll_status():
    while True:
        with session.get("https://127.0.0.1:8443/", verify=False, stream=True) as answer:
            # Each has a connection, which a quicker one could else give on to the next.
            together.wait()
            assert answer.text == "ok"
        time.sleep(20 if form == "pool" else 0.3)


for _ in range(5):
    incident.background(poll_status)
if form == "pool":
    incident.stuck(5)
    incident.done()
until = time.monotonic() + 3
incident.until("it has asked some times", lambda: time.monotonic() > until)
incident.done()
