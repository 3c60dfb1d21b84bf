"""A server of HTTP that closes connections which were idle."""

import incident

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def serve_for_ever(port, idle_s):
    def serve(connection):
        connection.settimeout(idle_s)
        try:
            while connection.recv(65536):
                connection.sendall(ANSWER)
        except TimeoutError:
            pass
        connection.close()

    incident.server(serve, port)
    incident.forever()
