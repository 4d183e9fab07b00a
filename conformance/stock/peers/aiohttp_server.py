"""Python's `aiohttp` as an echo server. Prints where it listens, and how each
connection was closed.
"""

import asyncio

from aiohttp import WSMsgType, web


async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    reason = ""
    while True:
        message = await socket.receive()
        if message.type == WSMsgType.TEXT and message.data == "close":
            await socket.close(code=4001, message=b"as asked")
        elif message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        else:
            reason = message.extra or ""
            break
    print("closed", socket.close_code, reason, flush=True)
    return socket


async def main():
    application = web.Application()
    application.router.add_get("/", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("listening on", site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
