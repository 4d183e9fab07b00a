"""python-socketio 5, unmodified, synchronous and asynchronous: socketio_client.py ORIGIN. A line a check; `kill` has the
server killed and started."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import traceback

import socketio

PATIENCE = 30


def ok(what: str) -> None:
    print(f"ok {what}", flush=True)


def synchronous(origin: str) -> None:
    heard: queue.Queue[tuple] = queue.Queue()
    connected: queue.Queue[bool] = queue.Queue()
    client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=1)

    # One argument: one more would be a TypeError, and lose the event.
    @client.on("publication")
    def publication(told: dict) -> None:
        heard.put((told["channel"], told["data"]))

    client.on("connect", lambda: connected.put(True))
    client.connect(origin)
    connected.get(timeout=PATIENCE)
    room = "python/sync"
    first = client.call("subscribe", {"channel": room}, timeout=PATIENCE)
    assert first["offset"] == 0, first
    assert client.transport() == "websocket", client.transport()
    ok("python-socketio: upgrades, and subscribes with an acknowledgement")
    client.call("publish", {"channel": room, "data": {"text": "Grüße"}}, timeout=PATIENCE)
    assert heard.get(timeout=PATIENCE) == (room, {"text": "Grüße"})
    at = client.call("publish", {"channel": room, "data": b"\x00\x01\xff"}, timeout=PATIENCE)
    assert heard.get(timeout=PATIENCE) == (room, b"\x00\x01\xff")
    ok("python-socketio: JSON and bytes, both ways")
    refused = client.call("publish", {"channel": ""}, timeout=PATIENCE)
    assert refused["error"]["code"], refused
    ok("python-socketio: errors are acknowledgements")
    print("kill", flush=True)
    connected.get(timeout=PATIENCE)
    other = socketio.SimpleClient()
    other.connect(origin, transports=["polling"])
    other.call("publish", {"channel": room, "data": "meanwhile"})
    since = {"epoch": at["epoch"], "offset": at["offset"]}
    again = client.call("subscribe", {"channel": room, "since": since}, timeout=PATIENCE)
    assert again["recovered"] is True, again
    assert heard.get(timeout=PATIENCE) == (room, "meanwhile")
    ok("python-socketio: a position from before the kill continues without a gap")
    other.disconnect()
    client.disconnect()


async def asynchronous(origin: str) -> None:
    heard: asyncio.Queue[tuple] = asyncio.Queue()
    client = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=1)

    @client.on("publication")
    async def publication(told: dict, offset: str) -> None:
        await heard.put((told["data"], offset))

    await client.connect(origin, transports=["websocket"], auth={"recover": True}, wait_timeout=PATIENCE)
    room = "python/async"
    await client.call("subscribe", room, timeout=PATIENCE)
    await client.call("publish", {"channel": room, "data": "with its offset"}, timeout=PATIENCE)
    told, offset = await asyncio.wait_for(heard.get(), PATIENCE)
    assert told == "with its offset" and "~" in offset, (told, offset)
    ok("python-socketio (asyncio): a client that asked for recovery gets an offset with each event")
    namespaces = socketio.AsyncClient()
    await namespaces.connect(origin, transports=["websocket"], namespaces=["/a", "/b"], wait_timeout=PATIENCE)
    in_b: asyncio.Queue[dict] = asyncio.Queue()
    namespaces.on("publication", in_b.put, namespace="/b")
    await namespaces.call("subscribe", room, namespace="/b", timeout=PATIENCE)
    await namespaces.call("publish", {"channel": room, "data": 1}, namespace="/a", timeout=PATIENCE)
    told = await asyncio.wait_for(in_b.get(), PATIENCE)
    assert told["data"] == 1, told
    ok("python-socketio (asyncio): namespaces")
    await namespaces.disconnect()
    try:
        wrong = socketio.AsyncClient(reconnection=False)
        await wrong.connect(origin, transports=["websocket"], auth={"token": "nonsense"}, wait_timeout=PATIENCE)
    except socketio.exceptions.ConnectionError as error:
        ok(f"python-socketio (asyncio): a wrong token is refused: {str(error)[:40]}")
    else:
        print("failed: a wrong token was let in", flush=True)
    await client.disconnect()


def main(origin: str) -> None:
    synchronous(origin)
    asyncio.run(asynchronous(origin))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BaseException:
        print("failed: " + " | ".join(traceback.format_exc().split("\n")[-4:]), flush=True)
    print("done", flush=True)
    # Threads of a client that lost its server do not keep the program.
    os._exit(0)
