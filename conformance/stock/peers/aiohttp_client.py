"""Python's `aiohttp` as a client: aiohttp_client.py URL [CA]. Prints a line for
each check.

It cannot send fragments.
"""

import asyncio
import os
import ssl
import sys

import aiohttp
from aiohttp import WSMsgType


async def echoed(socket, name, message):
    if isinstance(message, str):
        await socket.send_str(message)
    else:
        await socket.send_bytes(message)
    answer = await socket.receive()
    kind = WSMsgType.TEXT if isinstance(message, str) else WSMsgType.BINARY
    if answer.type != kind or answer.data != message:
        sys.exit(f"failed {name}: the echo differs from the message")
    print("ok", name)


async def main():
    url, ca = [*sys.argv[1:], None][:2]
    options = {"ssl": ssl.create_default_context(cafile=ca)} if ca else {}
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, compress=15, autoping=False, **options) as socket:
            if not socket.compress:
                sys.exit("failed permessage-deflate: declined")
            print("ok permessage-deflate negotiated")
            await echoed(socket, "text", "Grüße, 世界 👋")
            await echoed(socket, "an empty text", "")
            await echoed(socket, "binary", bytes([0, 1, 254, 255]))
            await echoed(socket, "1 MiB", b"0123456789abcdef" * (1 << 16))
            await socket.ping(b"there?")
            pong = await socket.receive()
            if (pong.type, pong.data) != (WSMsgType.PONG, b"there?"):
                sys.exit(f"failed ping: {pong}")
            print("ok ping")
            await socket.close(code=3000, message=b"done")
            if socket.close_code != 3000:
                sys.exit(f"failed close: {socket.close_code}")
            print("ok close with 3000")

        async with session.ws_connect(url, **options) as socket:
            await socket.send_bytes(os.urandom(3 << 20))
            answer = await socket.receive()
            if (answer.type, answer.data) != (WSMsgType.CLOSE, 1009):
                sys.exit(f"failed 3 MiB with a limit of 2: {answer.type} {socket.close_code}")
            print("ok 3 MiB with a limit of 2: 1009")


asyncio.run(main())
