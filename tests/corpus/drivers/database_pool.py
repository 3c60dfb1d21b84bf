"""A pool of connections to a database that closes what is idle for two seconds.

`mariadb`: PyMySQL in SQLAlchemy's pool. `postgres`: psycopg's own pool.
"""

import os
import shutil
import subprocess
import sys

import incident

form = sys.argv[1]
base = incident.scratch()
data = os.path.join(base, "data")

if form == "mariadb":
    import sqlalchemy

    subprocess.run(
        ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--auth-root-authentication-method=normal",
         "--skip-test-db"],
        check=True, stdout=sys.stderr,
    )
    incident.start(
        "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={base}/socket", "--port=3306",
        "--bind-address=127.0.0.1", "--wait-timeout=2", "--skip-grant-tables", "--skip-networking=0", "--innodb-buffer-pool-size=8M",
    )
    incident.listens(3306, 60)
    engine = sqlalchemy.create_engine("mysql+pymysql://root@127.0.0.1:3306/mysql", pool_size=5)
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
        "-c", "idle_session_timeout=2000", "-c", "fsync=off", user="postgres", extra_groups=[], cwd=base,
    )
    incident.listens(5432, 60)
    pool = psycopg_pool.ConnectionPool("host=127.0.0.1 user=app dbname=postgres", min_size=5, max_size=5, open=True)
    pool.wait()
    lease = pool.getconn

connections = [lease() for _ in range(5)]
for connection in connections:
    if form == "mariadb":
        connection.execute(sqlalchemy.text("select 1"))
        connection.close()
    else:
        connection.execute("select 1")
        connection.commit()
        pool.putconn(connection)
incident.holder()
if form == "mariadb":
    # MariaDB ends what is idle by a reset: no socket is left, but the descriptors are.
    incident.until("MariaDB reset them", lambda: not any(3306 in row[:2] and row[2] in (1, 8) for row in incident.sockets()))
    incident.done(0, ghosts=5)
incident.stuck(5)
incident.done(5)
