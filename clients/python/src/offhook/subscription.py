"""A subscription, from its reader's side."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeVar

from .core import Core
from .core.following import Phase, Wish
from .driver import Driver
from .errors import OffhookError
from .events import Ended, Event, Filter, Message

E = TypeVar("E")
Handler = Callable[[E], "Awaitable[None] | None"]

SubscriptionState = Literal["waiting", "catching_up", "live", "paused", "ended"]


class Subscription(AsyncIterator[Event]):
    """One channel, or all that match a filter.

    Read it **either** with one ``async for`` **or** with handlers, ``on(Message, …)``.

    Requesting the next event means that the previous one was handled. ``next()`` and the loop may be cancelled, by a
    timeout for example: no event is lost. End it with ``unsubscribe()``, or use it with ``async with``.
    """

    def __init__(self, core: Core, driver: Driver, number: int, wish: Wish) -> None:
        self.target: str | Filter = wish.target
        """The channel, or the filter."""
        self._name = wish.name
        self._core = core
        self._driver = driver
        self._number = number
        self._position: str | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_over = False
        self._handlers: dict[type[Any], list[Handler[Any]]] = {}
        self._reader: asyncio.Task[None] | None = None

    @property
    def state(self) -> SubscriptionState:
        """``paused``: its reader is slow, and it will continue from the channel's history."""
        following = self._core.following(self._number)
        if following is None:
            return "ended"
        phase = following.phase
        return "waiting" if phase in (Phase.ASKED, Phase.EXPECTED) else phase.value

    @property
    def position(self) -> str | None:
        """That of the last message that was handled: subscribe ``since`` it to go on from there.

        With a ``window``, the position up to which the reader is done with everything.
        """
        following = self._core.following(self._number)
        if following is not None:
            self._position = following.handled
        return self._position

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        if self._reader is not None and asyncio.current_task() is not self._reader:
            raise RuntimeError(f"{self._name}: its events go to handlers already; use either handlers or a loop")
        return await self._next()

    async def next(self) -> Event:
        """The next event. Raises ``StopAsyncIteration`` at the end, or the error with which the server ended it."""
        return await anext(self)

    def on(self, kind: type[E], handler: Handler[E]) -> Callable[[], None]:
        """Calls ``handler`` for each event of this type, one at a time; returns a function that stops it.

        A coroutine function is awaited before the next event is taken, so a slow one makes a slow reader.
        """
        handlers = self._handlers.setdefault(kind, [])
        handlers.append(handler)
        if self._reader is None:
            if self._waiter is not None:
                raise RuntimeError(f"{self._name}: a loop reads its events already; use either handlers or a loop")
            self._reader = asyncio.get_running_loop().create_task(self._handle_all(), name=f"offhook {self._name}")
        return lambda: handlers.remove(handler) if handler in handlers else None

    def done(self, message: Message, *, cumulative: bool = False) -> None:
        """With a ``window``: done with this message, or with all up to it. The server then sends more."""
        self._core.done(self._number, message, cumulative, self._driver.now())
        self._driver.advance()

    def unsubscribe(self) -> None:
        """Ends the subscription and loops over it."""
        _ = self.position
        self._core.unsubscribe(self._number)
        self._driver.advance()
        self.wake()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unsubscribe()

    def wake(self) -> None:
        """There are events to read, or there will be no more."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _next(self) -> Event:
        if self._waiter is not None:
            raise RuntimeError(f"{self._name}: another task waits for its next event; it has one reader")
        while True:
            event = self._take()
            if event is not None:
                return event
            self._end_if_over()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _take(self) -> Event | None:
        following = self._core.following(self._number)
        if following is None:
            return None
        was_held_up = not self._core.wants_input() or following.phase is Phase.PAUSED
        event = self._core.take(self._number, self._driver.now())
        if was_held_up:
            self._driver.advance()
        return event

    def _end_if_over(self) -> None:
        following = self._core.following(self._number)
        if following is not None and following.phase is not Phase.ENDED:
            return
        _ = self.position
        self._core.unsubscribe(self._number)
        if following is not None and following.error is not None and not self._is_over:
            self._is_over = True
            raise following.error
        raise StopAsyncIteration

    async def _handle_all(self) -> None:
        error = None
        try:
            async for event in self:
                await self._handle(event)
        except OffhookError as reason:
            error = reason
        await self._handle(Ended(self._name, error))

    async def _handle(self, event: Event | Ended) -> None:
        for handler in list(self._handlers.get(type(event), ())):
            await self._call(handler, event)

    async def _call(self, handler: Handler[Any], event: Event | Ended) -> None:
        try:
            result = handler(event)
            if inspect.isawaitable(result):
                await result
        except Exception as error:  # noqa: BLE001 - a handler that fails spoils nothing for the others
            context = {"message": f"a handler of {self._name} failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)


@dataclass(frozen=True, slots=True)
class Made:
    """The server's backend has subscribed this session. Without a handler for these, such subscriptions are kept
    unread.
    """

    subscription: Subscription
