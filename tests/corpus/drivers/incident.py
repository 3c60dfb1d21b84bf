"""What the drivers share: words on stdout, an end with stdin, and no child left behind.

A driver says `ready`, `holder pid=N` for each process that keeps sockets, and
`done sockets=N ghosts=M` when the incident is there; it goes on with whatever it does
beside (in a thread), and ends when its stdin does. Conditions are waited for, never a time.
"""

import atexit
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
# Whatever the caller left open would count against a limit.
os.closerange(3, 65536)

_children = []
_dirs = []

HERE = os.path.dirname(os.path.abspath(__file__))


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def say(word, **values):
    print(word, *(f"{key}={value}" for key, value in values.items()), flush=True)


def holder(pid=None):
    """A process that keeps sockets: this one, or `pid`."""
    say("holder", pid=pid or os.getpid())


def scratch():
    """A directory that is gone at the end."""
    _dirs.append(tempfile.mkdtemp(prefix="closewait-corpus-"))
    os.chmod(_dirs[-1], 0o755)
    return _dirs[-1]


def start(*argv, **more):
    """Starts a program that dies with this one; what it prints goes to stderr. To be
    called by the main thread: the death of a thread counts as that of a parent."""
    more = {"stdin": subprocess.DEVNULL, "stdout": sys.stderr, "preexec_fn": _die_with_parent, "process_group": 0} | more
    _children.append(subprocess.Popen([str(arg) for arg in argv], **more))
    return _children[-1]


def write(text, name="conf"):
    """A file with `text` in a directory of its own."""
    path = os.path.join(scratch(), name)
    with open(path, "w") as file:
        file.write(text)
    return path


def java(source, *args, jars=(), options=()):
    """Starts a file of this directory with its arguments; `jars` are Debian's."""
    classpath = ["-cp", ":".join(f"/usr/share/java/{jar}.jar" for jar in jars)] if jars else []
    small = ["-Xmx192m", "-XX:+UseSerialGC"]
    return start("java", *small, *options, *classpath, os.path.join(HERE, source), *args)


def go(source):
    """Compiles a file of this directory; the program."""
    return _compiled(source, ["go", "build"])


def c(source, *libraries):
    """Compiles a file of this directory; the program."""
    return _compiled(source, ["cc", "-O2", "-g", "-Wall"], libraries)


def _compiled(source, compiler, libraries=()):
    built = os.environ["CORPUS_BUILT"]
    os.makedirs(built, exist_ok=True)
    program = os.path.join(built, os.path.splitext(source)[0])
    # Another case may compile the same, or run it, just now.
    new = f"{program}.{os.getpid()}"
    subprocess.run([*compiler, "-o", new, os.path.join(HERE, source), *libraries], check=True, stdout=sys.stderr)
    os.rename(new, program)
    return program


def until(what, true, seconds=30):
    """Waits until `true()` is; `what` it is, is said when it does not come."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > deadline:
            sys.exit(f"never: {what}")
        for child in _children:
            if child.poll() not in (None, 0):
                sys.exit(f"{child.args} ended with {child.returncode} before: {what}")
        time.sleep(0.02)
    return found


def listens(port, seconds=30):
    """Waits until somebody listens on `port`."""
    until(f"somebody listens on {port}", lambda: any(s == 0x0A and l == port for l, _, s in sockets()), seconds)


def sockets():
    """(local port, remote port, state) of every TCP socket in this network namespace."""
    rows = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/self/net/{table}") as file:
            for row in file.readlines()[1:]:
                local, remote, state = row.split()[1:4]
                rows.append((int(local.split(":")[1], 16), int(remote.split(":")[1], 16), int(state, 16)))
    return rows


def close_wait(port=None):
    """How many sockets are in CLOSE_WAIT, or of those how many have `port` at an end."""
    return sum(s == 8 and (port is None or port in (l, r)) for l, r, s in sockets())


def stuck(count, port=None, seconds=60):
    """Waits until `count` sockets are in CLOSE_WAIT."""
    until(f"{count} sockets are in CLOSE_WAIT", lambda: close_wait(port) >= count, seconds)


def are_kept(count, server, fixed=False):
    """The end of an incident: clients have left, and `server` keeps `count` sockets, or it is
    `fixed` and closes them."""
    if fixed:
        until("the server closed too", lambda: close_wait() == 0)
        done(0)
    holder(server.pid)
    stuck(count)
    done(count)


def server(serve, port=0, backlog=128, address="127.0.0.1"):
    """A server in this process; `serve(connection)` runs in a thread for each. Its port."""
    listener = socket.create_server((address, port), backlog=backlog)

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def apart(function, *args, leaving=()):
    """Runs `function` in a process of its own, which ends with this one and has no copy
    of the sockets it leaves to it; its pid."""
    pid = os.fork()
    if pid == 0:
        _die_with_parent()
        for each in leaving:
            each.close()
        _children.clear()
        _dirs.clear()
        try:
            function(*args)
        finally:
            os._exit(0)
    _children.append(_Forked(pid))
    return pid


class _Forked:
    def __init__(self, pid):
        self.pid, self.returncode, self.args = pid, None, "a fork"

    def poll(self):
        return None

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def wait(self):
        os.waitpid(self.pid, 0)


def background(function, *args):
    """Runs `function` beside, as long as this process lives."""
    threading.Thread(target=function, args=args, daemon=True).start()


def forever():
    while True:
        time.sleep(3600)


def done(count=None, ghosts=0):
    """The incident is there: `count` sockets are stuck, which changes when there is no count.
    Ends this program when that is wanted."""
    say("done", ghosts=ghosts, **({} if count is None else {"sockets": count}))
    sys.stdin.read()
    _end()
    os._exit(0)


def _end():
    for child in reversed(_children):
        if child.poll() is None:
            child.kill() if isinstance(child, _Forked) else os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    for path in _dirs:
        shutil.rmtree(path, ignore_errors=True)


atexit.register(_end)
