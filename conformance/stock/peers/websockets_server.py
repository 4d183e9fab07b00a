"""Python's `websockets` as an echo server. Prints where it listens, and how
each connection was closed.
"""

import asyncio

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def echo(socket):
    try:
        while (message := await socket.recv()) != "close":
            await socket.send(message)
        await socket.close(4001, "as asked")
    except ConnectionClosed:
        pass  # Printed below.
    print("closed", socket.close_code, socket.close_reason, flush=True)


async def main():
    async with serve(echo, "127.0.0.1", 0) as server:
        print("listening on", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
