"""The client for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import random
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, TypeAlias, TypeVar, cast

from . import position as positions
from .core import Core
from .core.core import Notice, Outcome, Ready, SubscriptionMade, SubscriptionTokenWanted, TokenWanted
from .core.following import Wish, written
from .core.questions import Repeats
from .driver import Driver, Provided, Target, as_websocket, provide
from .errors import OffhookError
from .events import Data, Filter, History, Json, Latency, Presence, Published, Receipts, Since, State, Told, Warned
from .payload import encode
from .settings import Settings
from .subscription import Made, Subscription
from .wire import Acked, Called, Result

N = TypeVar("N", State, Latency, Told, Made, Warned)
ChannelToken: TypeAlias = "str | Callable[[str], str | None] | Callable[[str], Awaitable[str | None]]"
"""A subscription token, or a function that is called with the channel whenever one is needed."""

MOST_UNDONE = 1_024
"""The maximum window of an acknowledged subscription. 1,024: the limit of servers."""
CALLED_WITHIN = 10.0
"""The deadline of a call that names none. 10 s: a person waits no longer."""


def connect(
    url: Provided[str],
    *,
    token: Provided[str] | None = None,
    info: Json = None,
    settings: Settings | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: ssl.SSLContext | None = None,
    proxy: str | Literal[True] | None = True,
) -> Client:
    """Opens a connection that reconnects by itself, in the running event loop.

    ``url`` and ``token`` may be functions or coroutine functions, called for each connection. ``info`` is what other
    members see of the session, unless authentication provides it. ``proxy``: the system's, an address, or
    ``None``. Raises ``ValueError`` for an invalid address.
    """
    chosen = settings or Settings()
    if isinstance(url, str) and as_websocket(url).partition("://")[0] not in ("ws", "wss"):
        raise ValueError(f"not an address: {url!r}; expected one like ws://127.0.0.1:8000/ws")
    target = Target(url, token, dict(headers or {}), ssl, proxy, chosen.max_size)
    core = Core(chosen, random.SystemRandom(), info, renews_token=callable(token))
    return Client(core, target)


class Client:
    """Channels over one connection that reconnects. Made by ``connect``; use it with ``async with``."""

    def __init__(self, core: Core, target: Target) -> None:
        self._core = core
        self._driver = Driver(core, target, self._take)
        self._token = target.token
        self._refreshing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._subscriptions: dict[int, Subscription] = {}
        self._tokens: dict[int, ChannelToken] = {}
        self._fetching: set[asyncio.Task[None]] = set()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._handlers: dict[type[Any], list[Callable[[Any], None]]] = {}
        self._openers: set[asyncio.Future[None]] = set()
        core.handle_start(self._driver.now())
        # The creator attaches itself first.
        self._loop.call_soon(self._driver.advance)

    @property
    def state(self) -> State:
        """The state of the connection."""
        return self._core.state

    @property
    def session(self) -> str | None:
        """The session's name, visible to other members; the same on the next connection if it was resumed."""
        return self._core.session

    @property
    def user(self) -> str | None:
        """The user, according to the server; ``None`` for anonymous sessions."""
        return self._core.user

    @property
    def latency(self) -> float | None:
        """The round-trip time of the last ping in seconds."""
        return self._core.latency

    @property
    def unanswered(self) -> int:
        """The number of publications without an answer."""
        return self._core.unanswered

    def on(self, kind: type[N], handler: Callable[[N], None]) -> Callable[[], None]:
        """Calls ``handler`` with each ``State``, ``Latency``, ``Told``, ``Made`` or ``Warned``; returns a function that
        removes it.
        """
        handlers = self._handlers.setdefault(kind, [])
        handlers.append(handler)
        return lambda: handlers.remove(handler) if handler in handlers else None

    async def opened(self) -> None:
        """Waits until the server has accepted this client. Raises the error if it was closed instead."""
        while self.state.name != "open":
            if self.state.name == "closed":
                self._core.check_is_open()
            waiter = self._loop.create_future()
            self._openers.add(waiter)
            try:
                await waiter
            finally:
                self._openers.discard(waiter)

    def subscribe(
        self,
        target: str | Filter,
        *,
        since: Since = "now",
        presence: bool = False,
        echo: bool = True,
        window: int | None = None,
        token: ChannelToken | None = None,
    ) -> Subscription:
        """To a channel, or to all channels that match a ``Filter``. Several on one channel are independent.

        Starts at ``since``: ``"now"``, ``"start"``, ``Last(50)``, a position, or ``"state"``. ``presence``: with joins
        and leaves. ``echo=False``: this session's own messages arrive as ``Own``, without data. ``window``: at most
        this many messages (1 to 1,024) are delivered before ``Subscription.done``; the channel must have history.
        ``token``: a subscription token, or a function or coroutine function that is called with the channel for each
        request, and again when a token has expired. If it returns ``None`` the subscription ends; if it raises, it is
        called again later.
        """
        subscription = self._subscribe(Wish(target, since, presence, echo, window), token)
        self._driver.advance()
        return subscription

    def subscribe_all(
        self,
        channels: Iterable[str],
        *,
        since: Since = "now",
        presence: bool = False,
        echo: bool = True,
        token: ChannelToken | None = None,
    ) -> list[Subscription]:
        """Subscribes to several channels with one message; with ``token`` to each by itself."""
        all_of_them = [self._subscribe(Wish(channel, since, presence, echo), token) for channel in channels]
        self._driver.advance()
        return all_of_them

    def _subscribe(self, wish: Wish, token: ChannelToken | None) -> Subscription:
        if isinstance(wish.since, str) and wish.since not in ("now", "start", "state"):
            positions.parse(wish.since)
        if wish.window is not None and not 1 <= wish.window <= MOST_UNDONE:
            raise ValueError(f"window is {wish.window}; it may be 1 to {MOST_UNDONE}")
        if token is not None:
            wish = replace(wish, has_token=True, renews_token=callable(token))
        number = self._core.subscribe(wish)
        if token is not None:
            self._tokens[number] = token
        subscription = Subscription(self._core, self._driver, number, wish)
        self._subscriptions[number] = subscription
        return subscription

    def publish(
        self,
        channel: str,
        data: Data,
        *,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        queue: bool = True,
        ordered: bool = True,
    ) -> asyncio.Future[Published]:
        """Queues a publication at once; await the answer, which arrives once the server has stored it.

        It is sent over as many connections as necessary, and published once. Each channel has one publication in
        flight, which preserves their order, except with ``ordered=False``. ``queue=False``: sent once and immediately,
        or not at all. If it is cancelled before it was sent, it is not published; after that, it may be published, and
        is not sent again on another connection.
        """
        request = self._core.publish(
            channel,
            data,
            key=key,
            tags=dict(tags) if tags else None,
            is_queued=queue,
            is_ordered=ordered,
            now=self._driver.now(),
        )
        return self._answer(request)

    async def history(
        self, channel: str, *, since: Since | None = None, before: str | None = None, limit: int = 100
    ) -> History:
        """Reads once: the newest, those after ``since``, or backward: the newest before the position ``before``.

        A page may be shorter than ``limit``. Reading backward, ``more`` says whether older messages are retained.
        """
        message: dict[str, Any] = {"type": "history", "channel": channel, "limit": limit}
        if before is not None:
            positions.parse(before)
            message["before"] = before
        elif since is not None:
            message["since"] = written(since)
        return cast(History, await self._ask(message))

    async def read_state(self, channel: str, *, since: str | None = None, limit: int | None = None) -> History:
        """Reads a channel's state once: the newest message of each value of the tag ``key``."""
        message: dict[str, Any] = {"type": "state", "channel": channel}
        if since is not None:
            message["since"] = since
        if limit is not None:
            message["limit"] = limit
        return cast(History, await self._ask(message))

    async def presence(self, channel: str) -> Presence:
        """The members of a channel."""
        return cast(Presence, await self._ask({"type": "presence", "channel": channel}))

    async def set_info(self, info: Json) -> None:
        """Replaces what other members see of this session."""
        await self._answer(self._core.set_info(info, self._driver.now()))

    async def call(
        self, method: str, data: Data = None, *, deadline: float | None = None, key: str | None = None
    ) -> Any:
        """Calls the server's backend, once; ``deadline`` is in seconds, 10 without one.

        Raises ``Refused`` with the backend's own error in ``backend``, ``TimedOut``, or ``Unavailable`` with the code
        ``offline`` if the connection was lost before the answer. In the last two cases it is unknown whether the call
        was executed: call again with the same ``key``, by which the backend recognizes a repetition.
        """
        message: dict[str, Any] = {"type": "call", "method": method, **encode(data)}
        if deadline is not None:
            message["deadline_ms"] = round(deadline * 1000)
        if key is not None:
            message["key"] = key
        within = CALLED_WITHIN if deadline is None else deadline
        request = self._core.ask(message, self._driver.now(), repeats=Repeats.NEVER, within=within)
        return cast(Called, await self._answer(request)).data

    async def receipts(self, channel: str, position: str) -> Receipts:
        """How many connections have everything up to ``position``. Asking may cause pings: ask again a moment later."""
        return cast(Receipts, await self._ask({"type": "receipts", "channel": channel, "position": position}))

    async def ack(self, channel: str, consumer: str, position: str | None = None) -> str | None:
        """Stores that ``consumer`` has processed everything up to ``position``; returns what the server has stored."""
        message = {"type": "ack", "channel": channel, "consumer": consumer}
        if position is not None:
            message["position"] = position
        return cast(Acked, await self._ask(message)).position

    def reconnect(self) -> None:
        """Ends a wait; checks that an open connection is alive."""
        self._core.hurry(self._driver.now())
        self._driver.advance()

    async def close(self) -> None:
        """Closes permanently: the session ends, loops end, and unanswered calls fail with ``Closed``."""
        self._core.close()
        if self._refreshing is not None:
            self._refreshing.cancel()
        for fetching in self._fetching:
            fetching.cancel()
        self._driver.advance()
        await self._driver.finish()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, message: dict[str, Any]) -> Result:
        result: Result = await self._answer(self._core.ask(message, self._driver.now()))
        return result

    def _answer(self, request: int) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._answers[request] = answer
        answer.add_done_callback(lambda done: self._settled(request, done))
        self._driver.advance()
        return answer

    def _settled(self, request: int, answer: asyncio.Future[Any]) -> None:
        del self._answers[request]
        if answer.cancelled():
            self._core.cancel(request)
            self._driver.advance()

    def _take(self, notice: Notice) -> None:
        if isinstance(notice, Ready):
            self._wake(notice.subscription)
        elif isinstance(notice, Outcome):
            self._resolve(notice)
        elif isinstance(notice, SubscriptionTokenWanted):
            fetching = self._loop.create_task(self._fetch(notice), name="offhook token")
            self._fetching.add(fetching)
            fetching.add_done_callback(self._fetching.discard)
        elif isinstance(notice, SubscriptionMade):
            self._made(notice)
        elif isinstance(notice, TokenWanted):
            self._refreshing = self._loop.create_task(self._refresh(), name="offhook refresh")
        else:
            if isinstance(notice, State) and notice.name in ("open", "closed"):
                for waiter in self._openers:
                    if not waiter.done():
                        waiter.set_result(None)
            for handler in self._handlers.get(type(notice), ()):
                # Deferred: a handler may call this client, which is busy now.
                self._loop.call_soon(handler, notice)

    def _made(self, made: SubscriptionMade) -> None:
        handlers = self._handlers.get(Made)
        if not handlers:
            self._core.ignore(made.subscription)
            return
        subscription = Subscription(self._core, self._driver, made.subscription, made.wish)
        self._subscriptions[made.subscription] = subscription
        for handler in handlers:
            self._loop.call_soon(handler, Made(subscription))

    async def _refresh(self) -> None:
        """Sends the server a newer token, so that the connection stays open."""
        if self._token is None:
            return
        try:
            token = await provide(self._token)
            await self._answer(self._core.refresh(token, self._driver.now()))
        except Exception as error:  # noqa: BLE001 - the function for the token may raise anything
            why = OffhookError("unauthenticated", f"no newer token: {error}")
            self._warn(error if isinstance(error, OffhookError) else why)

    async def _fetch(self, wanted: SubscriptionTokenWanted) -> None:
        """Gives a subscription its token."""
        token: Any = self._tokens.get(wanted.subscription)
        try:
            if callable(token):
                token = token(wanted.channel)
            if inspect.isawaitable(token):
                token = await token
        except Exception as error:  # noqa: BLE001 - the function for the token may raise anything
            self._core.give_no_token(wanted, self._driver.now())
            self._warn(OffhookError("unauthenticated", f"no token for {wanted.channel}: {error}"))
        else:
            self._core.give_token(wanted, token)
        self._driver.advance()

    def _warn(self, error: OffhookError) -> None:
        for handler in self._handlers.get(Warned, ()):
            handler(Warned(error))

    def _wake(self, number: int) -> None:
        subscription = self._subscriptions.get(number)
        if subscription is not None:
            subscription.wake()
            if subscription.state == "ended":
                del self._subscriptions[number]
                self._tokens.pop(number, None)

    def _resolve(self, outcome: Outcome) -> None:
        answer = self._answers.get(outcome.request)
        if answer is None or answer.done():
            return
        if isinstance(outcome.result, OffhookError):
            answer.set_exception(outcome.result)
        else:
            answer.set_result(outcome.result)
