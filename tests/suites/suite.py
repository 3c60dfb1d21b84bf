"""A test suite in Python: a client of a server that hangs up.

With SUITE_LEAKS set it forgets to close.
"""

import os
import socket
import threading
import time
import unittest

forgotten = []


def server():
    """Accepts one connection and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        listener.accept()[0].close()
        listener.close()

    threading.Thread(target=serve).start()
    return listener.getsockname()


def fetch_quote(address):
    connection = socket.create_connection(address)
    assert connection.recv(100) == b""
    return connection


class Suite(unittest.TestCase):
    def test_a_quote_is_fetched(self):
        connection = fetch_quote(server())
        if "SUITE_LEAKS" in os.environ:
            forgotten.append(connection)
        else:
            connection.close()

    def test_b_takes_half_a_second(self):
        time.sleep(0.5)


if __name__ == "__main__":
    print("a suite in Python", flush=True)
    unittest.main()
