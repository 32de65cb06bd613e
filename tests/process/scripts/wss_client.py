"""What ws_client.py does, for TLS: one thread, since Python's TLS sockets do not bear two at once."""

import asyncio
import os
import sys

from websockets.asyncio.client import connect


async def main():
    async with connect(sys.argv[1], proxy=None, max_size=None) as connection:
        print("open", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            line = line.rstrip("\n")
            if line == "close":
                break
            if line == "big":
                data = os.urandom(8 * 1024 * 1024)
                await connection.send(data)
                back = await connection.recv()
                print(len(back) if back == data else "differs", flush=True)
            else:
                await connection.send(line)
                print(await connection.recv(), flush=True)
    print(f"closed {connection.close_code}", flush=True)


asyncio.run(main())
