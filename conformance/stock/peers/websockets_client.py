"""Python's `websockets` as a client: websockets_client.py URL [CA]. Prints a
line for each check.
"""

import asyncio
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


def open_to(url, ca=None):
    tls = {"ssl": ssl.create_default_context(cafile=ca)} if ca else {}
    return connect(url, proxy=None, **tls)


async def echoed(socket, name, message):
    await socket.send(message)
    expected = "".join(message) if isinstance(message, list) else message
    answer = await socket.recv()
    if answer != expected:
        sys.exit(f"failed {name}: the echo differs from the message")
    print("ok", name)


async def main():
    async with open_to(*sys.argv[1:]) as socket:
        names = [extension.name for extension in socket.protocol.extensions]
        if names != ["permessage-deflate"]:
            sys.exit(f"failed permessage-deflate: {names}")
        print("ok permessage-deflate negotiated")
        await echoed(socket, "text", "Grüße, 世界 👋")
        await echoed(socket, "an empty text", "")
        await echoed(socket, "binary", bytes([0, 1, 254, 255]))
        await echoed(socket, "1 MiB", b"0123456789abcdef" * (1 << 16))
        await echoed(socket, "fragments", ["one, ", "two, ", "three"])
        await (await socket.ping("there?"))
        print("ok ping")
        await socket.close(3000, "done")
        if socket.close_code != 3000:
            sys.exit(f"failed close: {socket.close_code}")
        print("ok close with 3000")

    async with open_to(*sys.argv[1:]) as socket:
        try:
            # Random, so that compression does not make it short.
            await socket.send(os.urandom(3 << 20))
            await socket.recv()
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else "no close frame"
        else:
            code = "an echo"
        if code != 1009:
            sys.exit(f"failed 3 MiB with a limit of 2: {code}")
        print("ok 3 MiB with a limit of 2: 1009")


asyncio.run(main())
