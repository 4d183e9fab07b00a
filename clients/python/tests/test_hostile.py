"""Servers that are broken, hostile, or no server of Offhook's at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

import offhook
from machine import free_port, runs
from offhook import Message, Settings, State

QUICK = Settings(backoff=offhook.Backoff(first=0.01, cap=0.05), open_within=2.0)
Scene = Callable[[ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def playing(scene: Scene, subprotocol: str | None = "offhook.v1.json", **more: Any) -> AsyncIterator[str]:
    """A server that plays a scene with each connection."""
    protocols: Any = [subprotocol] if subprotocol else None
    async with serve(scene, "127.0.0.1", 0, subprotocols=protocols, **more) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws"


async def welcome(socket: ServerConnection) -> None:
    connect = json.loads(await socket.recv())
    await socket.send(json.dumps({"type": "welcome", "id": connect["id"], "session": "s", "resume": "v1"}))


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that sends these bytes to every client."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
    finally:
        server.close()


async def until(client: offhook.Client, *names: str, count: int = 1) -> State:
    """The state after the connection has reached one of these states this many
    times.
    """
    reached: asyncio.Queue[State] = asyncio.Queue()
    stop = client.on(State, lambda state: reached.put_nowait(state) if state.name in names else None)
    try:
        for _ in range(count):
            state = await reached.get()
        return state
    finally:
        stop()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nnot here\n", "HTTP 403, not here"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP 200"),
    ],
)
@runs
async def test_a_final_refusal_of_the_handshake_has_a_reason(answer: bytes, words: str) -> None:
    async with answering(answer) as url, offhook.connect(url, settings=QUICK, proxy=None) as client:
        waiting = client.publish("chat", "hi")
        with pytest.raises(offhook.Closed, match=words):
            await client.opened()
        with pytest.raises(offhook.Closed, match=words):
            await waiting


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"",
        b"\x00" * 10_000,
        b"HTTP/1.1 101 " + b"x" * 1_000_000,
    ],
)
@runs
async def test_temporary_failures_are_retried(answer: bytes) -> None:
    async with answering(answer) as url, offhook.connect(url, settings=QUICK, proxy=None) as client:
        assert (await until(client, "waiting", "closed", count=3)).name == "waiting"


@runs
async def test_retry_after_is_respected() -> None:
    answer = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
    async with answering(answer) as url, offhook.connect(url, settings=QUICK, proxy=None) as client:
        state = await until(client, "waiting")
        assert state.retry_in == 3600.0


@runs
async def test_a_server_of_another_protocol_is_reported_as_such() -> None:
    async def silent(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with playing(silent, subprotocol=None) as url, offhook.connect(url, settings=QUICK, proxy=None) as client:
        with pytest.raises(offhook.Closed, match=r"does not speak offhook\.v1\.json"):
            await client.opened()


@runs
async def test_a_missing_server_is_retried_and_a_wait_can_be_cancelled() -> None:
    url = f"ws://127.0.0.1:{free_port()}/ws"
    async with offhook.connect(url, settings=QUICK, proxy=None) as client:
        await until(client, "waiting", count=3)
        answer = client.publish("chat", "hi")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(answer, 0.01)
        assert client.unanswered == 0


@runs
async def test_a_failing_address_or_token_source_is_retried() -> None:
    calls = 0

    def url() -> str:
        nonlocal calls
        calls += 1
        raise KeyError("no address yet")

    async with offhook.connect(url, settings=QUICK, proxy=None) as client:
        state = await until(client, "waiting", count=3)
        assert "no address yet" in str(state.error)
        assert calls >= 3


def test_an_invalid_address_is_refused_immediately() -> None:
    async def connects() -> None:
        with pytest.raises(ValueError, match="expected one like ws://"):
            offhook.connect("nowhere at all")

    asyncio.run(connects())


@runs
async def test_a_message_larger_than_the_limit_is_final_and_names_the_setting() -> None:
    async def floods(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.send("x" * 10_001)
        await socket.wait_closed()

    settings = Settings(backoff=QUICK.backoff, max_size=10_000)
    async with playing(floods) as url, offhook.connect(url, settings=settings, proxy=None) as client:
        state = await until(client, "closed")
        assert "larger than max_size, 10000 bytes" in str(state.error)


@runs
async def test_an_invalid_message_is_a_warning_and_the_connection_continues() -> None:
    rubbish: list[str | bytes] = [
        "",
        "{",
        "null",
        "[" * 50_000,
        '{"type":"message"}',
        '{"type":"pong","id":"x"}',
        b"\xff\xfe",
    ]

    async def raves(socket: ServerConnection) -> None:
        await welcome(socket)
        for text in rubbish:
            await socket.send(text)
        await socket.send('{"type":"token","resume":"v1.x"}')
        question = json.loads(await socket.recv())
        await socket.send(
            json.dumps({"type": "members", "id": question["id"], "channel": "c", "members": [], "total": 3})
        )
        await socket.wait_closed()

    async with playing(raves) as url, offhook.connect(url, settings=QUICK, proxy=None) as client:
        warnings: list[offhook.Warned] = []
        client.on(offhook.Warned, warnings.append)
        await client.opened()
        assert (await client.presence("c")).total == 3
        assert [warned.error.code for warned in warnings] == ["bad_message"] * len(rubbish)


@runs
async def test_a_server_that_floods_a_reader_uses_bounded_memory() -> None:
    sent = 0
    held = asyncio.Event()

    async def floods(socket: ServerConnection) -> None:
        nonlocal sent
        await welcome(socket)
        asked = json.loads(await socket.recv())
        answer = {"type": "subscribed", "id": asked["id"], "channel": "c", "position": "17.0", "live": True}
        await socket.send(json.dumps(answer))
        while sent < 20_000:
            fields = {"type": "message", "channel": "c", "position": f"17.{sent + 1}", "data": "x" * 10_000, "time": 1}
            sending = asyncio.ensure_future(socket.send(json.dumps(fields)))
            _, waits = await asyncio.wait({sending}, timeout=0.5)
            if waits:
                held.set()
            await sending
            sent += 1
        held.set()

    settings = Settings(backoff=QUICK.backoff, inbox=offhook.Inbox(count=100, size=10 << 20, patience=3_600.0))
    # Compressed, all of it would fit into the sockets.
    async with (
        playing(floods, compression=None) as url,
        offhook.connect(url, settings=settings, proxy=None) as client,
    ):
        room = client.subscribe("c")
        await held.wait()
        # What the sockets hold, and 100 in the inbox; 20,000 would be 200 MB.
        assert sent < 5_000
        events = [await room.next() for _ in range(sent + 100)]
        assert [event.position for event in events if isinstance(event, Message)] == [
            f"17.{offset}" for offset in range(1, sent + 100)
        ][: len(events) - 1]


@runs
async def test_a_server_that_always_closes_immediately_causes_one_attempt_at_a_time() -> None:
    connections = 0

    async def slams(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await socket.close(1013)

    async with playing(slams) as url, offhook.connect(url, settings=QUICK, proxy=None) as client:
        await until(client, "waiting", count=5)
        assert 4 <= connections <= 6


@runs
async def test_a_server_that_never_answers_the_close_does_not_block_close() -> None:
    opened, closed = asyncio.Event(), asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = ServerProtocol(select_subprotocol=lambda *_: Subprotocol("offhook.v1.json"))
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        request = protocol.events_received()[0]
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        for data in protocol.data_to_send():
            writer.write(data)
        # The first byte of its `connect`.
        await reader.readexactly(1)
        opened.set()
        await closed.wait()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    client = offhook.connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws", settings=QUICK, proxy=None)
    await opened.wait()
    await client.close()
    assert client.state.name == "closed"
    closed.set()
    server.close()
