"""Drives a core over asyncio: sockets, timers and the system's clock."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from .core import Close, Core, End, Open
from .core.core import Notice

SUBPROTOCOL = "offhook.v1.json"

BUFFERED = 256 * 1024
"""The buffered bytes above which nothing is added. 256 KiB: later messages could not overtake them anyway."""

CLOSE_WITHIN = 2.0
"""The time limit for the closing handshake in seconds. 2 s: over a dead network it always takes that long."""

T = TypeVar("T")
Provided: TypeAlias = "T | Callable[[], T] | Callable[[], Awaitable[T]]"
"""A value, or a function that is called for each connection."""


@dataclass(frozen=True)
class Target:
    """Where to connect to, and how."""

    url: Provided[str]
    token: Provided[str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ssl: ssl.SSLContext | None = None
    proxy: str | Literal[True] | None = True
    max_size: int = 16 << 20

    async def open(self) -> tuple[ClientConnection, str | None]:
        """An open connection, and the token to show there."""
        token = None if self.token is None else await provide(self.token)
        options: dict[str, Any] = {} if self.ssl is None else {"ssl": self.ssl}
        connection = await open_websocket(
            as_websocket(await provide(self.url)),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=dict(self.headers),
            proxy=self.proxy,
            # The core has its own deadline for opening, and its own pings, which also measure the latency.
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_WITHIN,
            max_size=self.max_size,
            write_limit=BUFFERED,
            **options,
        )
        return connection, token


class Driver:
    """Carries out the decisions of a core."""

    def __init__(self, core: Core, target: Target, notify: Callable[[Notice], None]) -> None:
        self._core = core
        self._target = target
        self._notify = notify
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._serving: dict[int, asyncio.Task[None]] = {}
        self._sockets: dict[int, ClientConnection] = {}
        self._closing: set[asyncio.Task[None]] = set()
        # Set when there may be something to send, and while the connection may be read.
        self._may_send = asyncio.Event()
        self._may_read = asyncio.Event()

    def now(self) -> float:
        """Seconds on a clock that keeps running while the machine sleeps, if the system has one."""
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    def advance(self) -> None:
        """Must be called after each event reported to the core."""
        while (action := self._core.poll_action()) is not None:
            self._carry_out(action)
        while (notice := self._core.poll_notice()) is not None:
            self._notify(notice)
        self._may_send.set()
        if self._core.wants_input():
            self._may_read.set()
        else:
            self._may_read.clear()
        self._set_timer()

    async def finish(self) -> None:
        """Waits for the closing handshakes."""
        tasks = [*self._closing, *self._serving.values()]
        if tasks:
            await asyncio.wait(tasks)

    def _carry_out(self, action: Open | Close) -> None:
        number = action.connection
        if isinstance(action, Open):
            task = self._loop.create_task(self._serve(number), name=f"offhook connection {number}")
            self._serving[number] = task
            task.add_done_callback(lambda _: self._serving.pop(number, None))
            return
        serving = self._serving.get(number)
        if serving is not None:
            serving.cancel()
        socket = self._sockets.pop(number, None)
        if socket is not None:
            closing = self._loop.create_task(socket.close(action.code, action.reason), name="offhook close")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _serve(self, number: int) -> None:
        end = await self._connection(number)
        self._sockets.pop(number, None)
        self._core.handle_lost(number, end, self.now())
        self.advance()

    async def _connection(self, number: int) -> End:
        try:
            socket, token = await self._target.open()
        except Exception as error:  # noqa: BLE001 - the functions for address and token may raise anything
            return _failed(error)
        if socket.subprotocol != SUBPROTOCOL:
            await socket.close(1002)
            return End(1002, f"the server does not speak {SUBPROTOCOL} at this address", is_final=True)
        self._sockets[number] = socket
        self._core.handle_opened(number, token, self.now())
        self.advance()
        try:
            await self._converse(number, socket)
        except ConnectionClosed as closed:
            return self._ended(closed)
        return End()

    async def _converse(self, number: int, socket: ClientConnection) -> None:
        both = [
            self._loop.create_task(work, name=f"offhook connection {number}")
            for work in (self._read(number, socket), self._write(number, socket))
        ]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        for task in done:
            task.result()

    async def _read(self, number: int, socket: ClientConnection) -> None:
        while True:
            # While a reader is behind nothing is read, which creates backpressure.
            await self._may_read.wait()
            text = await socket.recv()
            self._core.handle_received(number, text, self.now())
            self.advance()

    async def _write(self, number: int, socket: ClientConnection) -> None:
        while True:
            self._may_send.clear()
            while (text := self._core.poll_transmit(number, self.now())) is not None:
                self._set_timer()
                await socket.send(text)
            await self._may_send.wait()

    def _ended(self, closed: ConnectionClosed) -> End:
        if closed.rcvd is not None:
            return End(closed.rcvd.code, closed.rcvd.reason)
        if closed.sent is not None and closed.sent.code == 1009:
            # It would be sent again on each connection.
            why = f"the server sent a message larger than max_size, {self._target.max_size} bytes; raise it"
            return End(1009, why, is_final=True)
        why = closed.sent.reason if closed.sent is not None else ""
        return End(1006, why)

    def _set_timer(self) -> None:
        due = self._core.poll_timeout()
        if due is None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        at = self._loop.time() + max(0.0, due - self.now())
        if self._timer is not None:
            # A timer that fires too early does nothing, and costs less than one for each message.
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self._core.handle_timeout(self.now())
        self.advance()


def as_websocket(url: str) -> str:
    """An ``http`` address becomes the ``ws`` one."""
    scheme, separator, rest = url.partition("://")
    return {"http": "ws", "https": "wss"}.get(scheme.lower(), scheme) + separator + rest


async def provide(source: Provided[str]) -> str:
    """A string, or the result of a function."""
    if isinstance(source, str):
        return source
    given = source()
    return given if isinstance(given, str) else await given


def _failed(error: Exception) -> End:
    """The meaning of a failed attempt."""
    if isinstance(error, InvalidStatus):
        response = error.response
        status = response.status_code
        # RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4: these and 5xx are temporary, the others concern the request.
        is_temporary = status >= 500 or status in (408, 425, 429)
        after = 0.0
        with contextlib.suppress(ValueError):
            # RFC 9110 §10.2.3: seconds, or a date, which a server that limits rates does not send.
            after = max(0.0, float(int(response.headers.get("Retry-After") or 0)))
        words = bytes(response.body or b"")[:200].decode(errors="replace").strip()
        reason = f"HTTP {status}" + (f", {words}" if words else "")
        return End(1006, reason, is_final=not is_temporary, at_least=after)
    if isinstance(error, InvalidURI | ssl.SSLCertVerificationError):
        return End(1006, str(error), is_final=True)
    if isinstance(error, OSError | InvalidHandshake | EOFError):
        return End(1006, str(error) or type(error).__name__)
    return End(1006, f"no address or token: {type(error).__name__}: {error}")
