"""A pool of connections to a database that closes what is idle for four seconds.

`mariadb`: PyMySQL in SQLAlchemy's pool. `haproxy`: the same, but it is the proxy between
that closes. `haproxy-used`: through the proxy, but never idle for so long. `postgres`:
psycopg's own pool.
"""

import os
import shutil
import subprocess
import sys
import time

import incident

form = sys.argv[1]
base = incident.scratch()
data = os.path.join(base, "data")
is_mariadb = form != "postgres"
is_proxied = form.startswith("haproxy")

if is_mariadb:
    import sqlalchemy

    subprocess.run(
        ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--auth-root-authentication-method=normal",
         "--skip-test-db", "--innodb-use-native-aio=0"],
        check=True, stdout=sys.stderr,
    )
    incident.start(
        "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={base}/socket", "--port=3306",
        "--bind-address=127.0.0.1", f"--wait-timeout={3600 if is_proxied else 4}", "--skip-grant-tables", "--skip-networking=0", "--innodb-buffer-pool-size=8M", "--innodb-use-native-aio=0",
    )
    incident.listens(3306, 60)
    if is_proxied:
        # A machine that has much to do may use them late.
        patience = "6s" if form == "haproxy-used" else "4s"
        conf = incident.write(f"""
defaults
    mode tcp
    timeout connect 5s
    timeout client {patience}
    timeout server {patience}
listen database
    bind 127.0.0.1:3307
    server one 127.0.0.1:3306
""")
        incident.start("haproxy", "-f", conf, "-db")
        incident.listens(3307)
    port = 3307 if is_proxied else 3306
    engine = sqlalchemy.create_engine(f"mysql+pymysql://root@127.0.0.1:{port}/mysql", pool_size=5)
    lease = engine.connect
else:
    import psycopg_pool

    shutil.chown(base, "postgres")
    bin_dir = max(os.path.join("/usr/lib/postgresql", version, "bin") for version in os.listdir("/usr/lib/postgresql"))
    subprocess.run(
        [os.path.join(bin_dir, "initdb"), "-D", data, "-U", "app", "--auth=trust", "--no-sync"],
        check=True, stdout=sys.stderr, user="postgres", extra_groups=[], cwd=base,
    )
    incident.start(
        os.path.join(bin_dir, "postgres"), "-D", data, "-k", base, "-c", "listen_addresses=127.0.0.1",
        "-c", "idle_session_timeout=4000", "-c", "fsync=off", user="postgres", extra_groups=[], cwd=base,
    )
    incident.listens(5432, 60)
    pool = psycopg_pool.ConnectionPool("host=127.0.0.1 user=app dbname=postgres", min_size=5, max_size=5, open=True)
    pool.wait()
    lease = pool.getconn



def count_orders():
    connections = []
    for _ in range(5):
        connections.append(lease())
        connections[-1].execute(sqlalchemy.text("select 1") if is_mariadb else "select 1")
    for connection in connections:
        if is_mariadb:
            connection.close()
        else:
            connection.commit()
            pool.putconn(connection)


def count_again_and_again():
    while True:
        count_orders()
        time.sleep(0.5)


incident.holder()
if form == "haproxy-used":
    incident.background(count_again_and_again)
    until = time.monotonic() + 7
    incident.until("it has counted for longer than the proxy waits", lambda: time.monotonic() > until)
    incident.done(0)
count_orders()
if form == "mariadb":
    # MariaDB ends what is idle by a reset: no socket is left, but the descriptors are.
    incident.until("MariaDB reset them", lambda: not any(3306 in row[:2] and row[2] in (1, 8) for row in incident.sockets()))
    incident.done(0, ghosts=5)
incident.stuck(5)
incident.done(5)
