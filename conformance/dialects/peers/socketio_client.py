"""python-socketio 5, unmodified, synchronous and asynchronous: socketio_client.py ORIGIN. Prints a line for each check; the
line `kill` makes the caller kill and restart the server."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import traceback

import socketio

PATIENCE = 30
# More packets than python-engineio accepts in one answer to a poll, which is 16.
BURST = 40


def ok(what: str) -> None:
    print(f"ok {what}", flush=True)


def synchronous(origin: str, name: str, transports: list[str]) -> None:
    heard: queue.Queue[tuple] = queue.Queue()
    connected: queue.Queue[bool] = queue.Queue()
    client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=1)

    # The handler takes one argument: a second one would cause a TypeError, and the event would be lost.
    @client.on("publication")
    def publication(told: dict) -> None:
        heard.put((told["channel"], told["data"]))

    client.on("connect", lambda: connected.put(True))
    client.connect(origin, transports=transports, wait_timeout=PATIENCE)
    connected.get(timeout=PATIENCE)
    room = f"python/sync/{name}"
    first = client.call("subscribe", {"channel": room}, timeout=PATIENCE)
    assert first["offset"] == 0, first
    assert client.transport() == transports[-1], client.transport()
    ok(f"python-socketio, {name}: connects, and subscribes with an acknowledgement")
    client.call("publish", {"channel": room, "data": {"text": "Grüße"}}, timeout=PATIENCE)
    assert heard.get(timeout=PATIENCE) == (room, {"text": "Grüße"})
    client.call("publish", {"channel": room, "data": b"\x00\x01\xff"}, timeout=PATIENCE)
    assert heard.get(timeout=PATIENCE) == (room, b"\x00\x01\xff")
    ok(f"python-socketio, {name}: JSON and bytes, in both directions")
    for n in range(BURST):
        client.emit("publish", {"channel": room, "data": [n, "x" * 1_000]})
    at = client.call("publish", {"channel": room, "data": [BURST]}, timeout=PATIENCE)
    # This client handles each packet in a thread, so the order may change.
    numbers = sorted(heard.get(timeout=PATIENCE)[1][0] for _ in range(BURST + 1))
    assert numbers == list(range(BURST + 1)), numbers
    ok(f"python-socketio, {name}: a burst of events arrives whole")
    refused = client.call("publish", {"channel": ""}, timeout=PATIENCE)
    assert refused["error"]["code"], refused
    ok(f"python-socketio, {name}: errors arrive as acknowledgements")
    print("kill", flush=True)
    connected.get(timeout=PATIENCE)
    other = socketio.SimpleClient()
    other.connect(origin, transports=["polling"], wait_timeout=PATIENCE)
    other.call("publish", {"channel": room, "data": "meanwhile"}, timeout=PATIENCE)
    since = {"epoch": at["epoch"], "offset": at["offset"]}
    again = client.call("subscribe", {"channel": room, "since": since}, timeout=PATIENCE)
    assert again["recovered"] is True, again
    assert heard.get(timeout=PATIENCE) == (room, "meanwhile")
    assert client.transport() == transports[-1], client.transport()
    ok(f"python-socketio, {name}: a position from before the kill continues without a gap")
    other.disconnect()
    client.disconnect()


async def asynchronous(origin: str, name: str, transports: list[str]) -> None:
    heard: asyncio.Queue[tuple] = asyncio.Queue()
    client = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=1)

    @client.on("publication")
    async def publication(told: dict, offset: str) -> None:
        await heard.put((told["data"], offset))

    await client.connect(origin, transports=transports, auth={"recover": True}, wait_timeout=PATIENCE)
    room = f"python/async/{name}"
    await client.call("subscribe", room, timeout=PATIENCE)
    for data in ("with its offset", b"\x00\xff"):
        await client.call("publish", {"channel": room, "data": data}, timeout=PATIENCE)
        told, offset = await asyncio.wait_for(heard.get(), PATIENCE)
        assert told == data and "~" in offset, (told, offset)
    assert client.transport() == transports[-1], client.transport()
    ok(f"python-socketio (asyncio), {name}: a client that requested recovery gets an offset with each event")
    for n in range(BURST):
        await client.emit("publish", {"channel": room, "data": [n, "x" * 1_000]})
    numbers = [(await asyncio.wait_for(heard.get(), PATIENCE))[0][0] for _ in range(BURST)]
    assert numbers == list(range(BURST)), numbers
    ok(f"python-socketio (asyncio), {name}: a burst of events arrives in order")
    namespaces = socketio.AsyncClient()
    in_b: asyncio.Queue[dict] = asyncio.Queue()
    namespaces.on("publication", in_b.put, namespace="/b")
    await namespaces.connect(origin, transports=transports, namespaces=["/a", "/b"], wait_timeout=PATIENCE)
    await namespaces.call("subscribe", room, namespace="/b", timeout=PATIENCE)
    await namespaces.call("publish", {"channel": room, "data": 1}, namespace="/a", timeout=PATIENCE)
    told = await asyncio.wait_for(in_b.get(), PATIENCE)
    assert told["data"] == 1, told
    ok(f"python-socketio (asyncio), {name}: namespaces")
    await namespaces.disconnect()
    try:
        wrong = socketio.AsyncClient(reconnection=False)
        await wrong.connect(origin, transports=transports, auth={"token": "nonsense"}, wait_timeout=PATIENCE)
    except socketio.exceptions.ConnectionError as error:
        ok(f"python-socketio (asyncio), {name}: an invalid token is refused: {str(error)[:40]}")
    else:
        print(f"failed: {name}: an invalid token was accepted", flush=True)
    await client.disconnect()


def main(origin: str) -> None:
    # The synchronous client also handles each attachment in a thread, and loses the event if that thread runs before the
    # thread of the packet. Threads are not interrupted in so short a time, not even on a busy machine.
    sys.setswitchinterval(10)
    transports = {"websocket": ["websocket"], "polling": ["polling"], "upgraded": ["polling", "websocket"]}
    for name, wanted in transports.items():
        synchronous(origin, name, wanted)
        asyncio.run(asynchronous(origin, name, wanted))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BaseException as error:
        here = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__]
        print(f"failed: line {here[-1]}: {error!r}", flush=True)
    print("done", flush=True)
    # Threads of a client that lost its server must not keep the program running.
    os._exit(0)
