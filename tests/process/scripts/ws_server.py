"""Sends each message back, preceded by this server's name. Prints its address once it listens."""

import sys

from websockets.sync.server import serve


def echo(connection):
    for message in connection:
        if isinstance(message, bytes):
            connection.send(message)
        else:
            connection.send(f"{sys.argv[1]} {message}")


with serve(echo, "127.0.0.1", 0, max_size=None) as server:
    host, port = server.socket.getsockname()
    print(f"{host}:{port}", flush=True)
    server.serve_forever()
