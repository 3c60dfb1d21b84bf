"""A proxy between a client that has sent everything and a server.

`nginx` and `haproxy`: the client half-closes and reads an answer that goes on for long; the
proxy passes both on. `nginx-stuck`: the server never answers, and the clients have left.
"""

import socket
import sys
import time

import incident

form = sys.argv[1]


def stream(connection):
    while connection.recv(100):
        pass
    while True:
        connection.sendall(b"x" * 1000)
        time.sleep(0.05)


def serve_for_ever():
    silent = []
    incident.server(silent.append if form == "nginx-stuck" else stream, port=9000)
    incident.forever()


server = incident.apart(serve_for_ever)
incident.listens(9000)
base = incident.scratch()
if form == "haproxy":
    conf = incident.write("""
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen orders
    bind 127.0.0.1:8080
    server one 127.0.0.1:9000
""")
    proxy = incident.start("haproxy", "-f", conf, "-db")
else:
    temporary = "".join(f"{kind}_temp_path {base}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    serving = f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:8080; location / {{ " \
        "proxy_ignore_client_abort on; proxy_pass http://127.0.0.1:9000; } } }" if form == "nginx-stuck" else \
        "stream { server { listen 127.0.0.1:8080; proxy_half_close on; proxy_pass 127.0.0.1:9000; } }"
    conf = incident.write(f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
user root; daemon off; master_process off; pid {base}/pid; error_log stderr;
events {{}}
{serving}
""")
    proxy = incident.start("nginx", "-c", conf, "-p", base)
incident.listens(8080)
incident.holder(proxy.pid)


def ask(request):
    client = socket.create_connection(("127.0.0.1", 8080))
    client.sendall(request)
    return client


if form == "nginx-stuck":
    for _ in range(5):
        client = ask(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        incident.until("the proxy asks the server", lambda: any(r == 9000 and s == 1 for _, r, s in incident.sockets()))
        client.close()
    incident.stuck(5)
    incident.done(5)


def read(client):
    while client.recv(65536):
        pass


incident.holder(server)
clients = [ask(b"report\n") for _ in range(3)]
for client in clients:
    incident.background(read, client)
    client.shutdown(socket.SHUT_WR)
# The proxy's end towards each client, and the server's towards the proxy.
incident.stuck(6)
incident.done(6)
