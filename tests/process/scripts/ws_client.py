"""Opens a WebSocket; sends each line of its input as a message and prints what comes back.

The line "big" sends 8 MiB of binary instead and prints how much came back; "close" ends with the closing handshake.
"""

import os
import sys

from websockets.sync.client import connect

with connect(sys.argv[1], proxy=None, max_size=None) as connection:
    print("open", flush=True)
    for line in sys.stdin:
        line = line.rstrip("\n")
        if line == "close":
            break
        if line == "big":
            data = os.urandom(8 * 1024 * 1024)
            connection.send(data)
            back = connection.recv()
            print(len(back) if back == data else "differs", flush=True)
        else:
            connection.send(line)
            print(connection.recv(), flush=True)
print(f"closed {connection.close_code}", flush=True)
