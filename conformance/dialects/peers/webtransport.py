"""WebTransport and HTTP/3 with aioquic, by docs/webtransport.md alone. Prints `ok WHAT` for each check."""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DatagramReceived, DataReceived, HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived

# Nothing waits for this to pass: what takes longer has failed.
PATIENCE = 30


class Http3(QuicConnectionProtocol):
    """A connection of HTTP/3, with requests and sessions."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic, enable_webtransport=True)
        self.heads: dict[int, asyncio.Future] = {}
        self.bodies: dict[int, bytearray] = {}
        self.ends: dict[int, asyncio.Event] = {}
        self.streams: dict[int, Stream] = {}
        self.controls: dict[int, Stream] = {}
        self.datagrams: asyncio.Queue[bytes] = asyncio.Queue()
        self.unknown: asyncio.Queue[Stream] = asyncio.Queue()

    def quic_event_received(self, event) -> None:
        # On a stream of a session that it has opened itself, aioquic would look for frames of HTTP/3.
        if isinstance(event, StreamDataReceived) and event.stream_id in self.controls:
            self.controls[event.stream_id].add(event.data, event.end_stream)
            return
        for one in self.http.handle_event(event):
            if isinstance(one, HeadersReceived):
                self.heads[one.stream_id].set_result(dict(one.headers))
                if one.stream_ended:
                    self.ends[one.stream_id].set()
            elif isinstance(one, DataReceived):
                self.bodies[one.stream_id] += one.data
                if one.stream_ended:
                    self.ends[one.stream_id].set()
            elif isinstance(one, WebTransportStreamDataReceived):
                if one.stream_id not in self.streams:
                    self.streams[one.stream_id] = Stream()
                    self.unknown.put_nowait(self.streams[one.stream_id])
                self.streams[one.stream_id].add(one.data, one.stream_ended)
            elif isinstance(one, DatagramReceived):
                self.datagrams.put_nowait(one.data)

    def begin(self, headers: list[tuple[bytes, bytes]], end_stream: bool) -> int:
        stream_id = self._quic.get_next_available_stream_id()
        self.heads[stream_id] = asyncio.get_running_loop().create_future()
        self.bodies[stream_id] = bytearray()
        self.ends[stream_id] = asyncio.Event()
        self.http.send_headers(stream_id, headers, end_stream)
        self.transmit()
        return stream_id

    def head(self, method: bytes, path: bytes) -> list[tuple[bytes, bytes]]:
        return [(b":method", method), (b":scheme", b"https"), (b":authority", AUTHORITY), (b":path", path)]

    async def get(self, path: bytes) -> tuple[bytes, bytes]:
        stream_id = self.begin(self.head(b"GET", path), True)
        head = await asyncio.wait_for(self.heads[stream_id], PATIENCE)
        await asyncio.wait_for(self.ends[stream_id].wait(), PATIENCE)
        return head[b":status"], bytes(self.bodies[stream_id])

    async def session(self) -> Session:
        connect = self.head(b"CONNECT", b"/ws") + [(b":protocol", b"webtransport")]
        session_id = self.begin(connect, False)
        head = await asyncio.wait_for(self.heads[session_id], PATIENCE)
        assert head[b":status"] == b"200", head
        control = self.http.create_webtransport_stream(session_id, is_unidirectional=False)
        self.streams[control] = self.controls[control] = Stream()
        return Session(self, control)


class Stream:
    """Messages, each preceded by its length."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.ended = False
        self.more = asyncio.Event()

    def add(self, data: bytes, ended: bool) -> None:
        self.bytes += data
        self.ended |= ended
        self.more.set()

    async def take(self, length: int) -> bytes:
        while len(self.bytes) < length:
            assert not self.ended, "the stream has ended"
            self.more.clear()
            await asyncio.wait_for(self.more.wait(), PATIENCE)
        taken = bytes(self.bytes[:length])
        del self.bytes[:length]
        return taken

    async def number(self) -> int:
        return struct.unpack(">I", await self.take(4))[0]

    async def hear(self, kind: str) -> dict:
        while True:
            message = json.loads(await self.take(await self.number()))
            if message["type"] == kind:
                return message


class Session:
    """A session of the native dialect."""

    def __init__(self, connection: Http3, control: int) -> None:
        self.connection, self.id = connection, control
        self.control = connection.streams[control]
        self.next = 0

    def send(self, **message) -> None:
        self.next += 1
        text = json.dumps({"id": self.next, **message}).encode()
        self.connection._quic.send_stream_data(self.id, struct.pack(">I", len(text)) + text)
        self.connection.transmit()

    async def stream(self) -> tuple[int, Stream]:
        stream = await asyncio.wait_for(self.connection.unknown.get(), PATIENCE)
        return await stream.number(), stream


async def main() -> None:
    settings = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, max_datagram_frame_size=65536, verify_mode=ssl.CERT_NONE
    )
    async with connect("127.0.0.1", PORT, configuration=settings, create_protocol=Http3) as http:
        status, body = await http.get(b"/healthz")
        assert status == b"200" and json.loads(body)["status"], (status, body)
        print("ok a request over HTTP/3", flush=True)

        session = await http.session()
        session.send(type="connect", lineage=True, streams=True, datagrams=True)
        await session.control.hear("welcome")
        print("ok a session with its control stream", flush=True)

        session.send(type="subscribe", channel="room", since="now")
        subscribed = await session.control.hear("subscribed")
        session.send(type="publish", channel="room", data="hello")
        number, own = await session.stream()
        assert number == subscribed["stream"], (number, subscribed)
        assert (await own.hear("message"))["data"] == "hello"
        await session.control.hear("published")
        print("ok a subscription with a stream of its own", flush=True)

        session.send(type="subscribe", channel="cursors:a", since="now")
        await session.control.hear("subscribed")
        session.send(type="publish", channel="cursors:a", data=[1, 2])
        datagram = await asyncio.wait_for(http.datagrams.get(), PATIENCE)
        assert json.loads(datagram)["data"] == [1, 2], datagram
        print("ok an unreliable channel in datagrams", flush=True)

        other = await http.session()
        other.send(type="connect", lineage=True)
        await other.control.hear("welcome")
        other.send(type="subscribe", channel="room", since="now")
        await other.control.hear("subscribed")
        session.send(type="publish", channel="room", data="to both")
        assert (await other.control.hear("message"))["data"] == "to both"
        assert (await own.hear("message"))["data"] == "to both"
        print("ok two sessions on one connection", flush=True)
    print("done", flush=True)


PORT = int(sys.argv[1])
AUTHORITY = f"127.0.0.1:{PORT}".encode()
asyncio.run(main())
