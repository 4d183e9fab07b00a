"""The same client for programs without an event loop: it runs one in a thread of its own.

For scripts and threads. Every call blocks, and may be made from any thread; ``timeout`` is in seconds.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from . import client as asynchronous
from .errors import TimedOut
from .events import Data, Event, Filter, History, Json, Message, Presence, Published, Receipts, State
from .subscription import Subscription as AsyncSubscription

T = TypeVar("T")


def connect(url: str, **options: Any) -> Client:
    """Opens a connection that reconnects by itself. The options are those of ``offhook.connect``."""
    return Client(url, **options)


class Client:
    """Channels over one connection that reconnects. Use it with ``with``."""

    def __init__(self, url: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon thread, so that a program that does not close this can end.
        self._thread = threading.Thread(target=self._loop.run_forever, name="offhook", daemon=True)
        self._thread.start()
        try:
            self._client = self._call(lambda: asynchronous.connect(url, **options))
        except BaseException:
            self._stop()
            raise

    @property
    def state(self) -> State:
        """The state of the connection."""
        return self._client.state

    @property
    def session(self) -> str | None:
        """The session's name, visible to other members."""
        return self._client.session

    def opened(self, timeout: float | None = None) -> None:
        """Waits until the server has accepted this client."""
        self._wait(self._client.opened(), timeout)

    def subscribe(self, target: str | Filter, **options: Any) -> Subscription:
        """To a channel or a filter; iterate over it. The options are those of the asynchronous client."""
        return Subscription(self, self._call(lambda: self._client.subscribe(target, **options)))

    def subscribe_all(self, channels: Iterable[str], **options: Any) -> list[Subscription]:
        """Subscribes to several channels with one message."""
        some = self._call(lambda: self._client.subscribe_all(channels, **options))
        return [Subscription(self, subscription) for subscription in some]

    def publish(self, channel: str, data: Data, *, timeout: float | None = None, **options: Any) -> Published:
        """Waits until the server has stored it. After a timeout it is no longer sent if it was not sent before."""

        async def publish() -> Published:
            return await self._client.publish(channel, data, **options)

        return self._wait(publish(), timeout)

    def history(self, channel: str, *, timeout: float | None = None, **options: Any) -> History:
        """Reads once; the options are those of the asynchronous client."""
        return self._wait(self._client.history(channel, **options), timeout)

    def read_state(self, channel: str, *, timeout: float | None = None, **options: Any) -> History:
        """Reads a channel's state once: the newest message of each value of the tag ``key``."""
        return self._wait(self._client.read_state(channel, **options), timeout)

    def set_info(self, info: Json, *, timeout: float | None = None) -> None:
        """Replaces what other members see of this session."""
        self._wait(self._client.set_info(info), timeout)

    def call(self, method: str, data: Data = None, *, timeout: float | None = None, **options: Any) -> Any:
        """Calls the server's backend, once."""
        return self._wait(self._client.call(method, data, **options), timeout)

    def presence(self, channel: str, *, timeout: float | None = None) -> Presence:
        """The members of a channel."""
        return self._wait(self._client.presence(channel), timeout)

    def receipts(self, channel: str, position: str, *, timeout: float | None = None) -> Receipts:
        """How many connections have everything up to ``position``."""
        return self._wait(self._client.receipts(channel, position), timeout)

    def ack(
        self, channel: str, consumer: str, position: str | None = None, *, timeout: float | None = None
    ) -> str | None:
        """Stores on the server that ``consumer`` has processed everything up to ``position``."""
        return self._wait(self._client.ack(channel, consumer, position), timeout)

    def close(self) -> None:
        """Closes permanently: the session ends."""
        if self._loop.is_closed():
            return
        self._wait(self._client.close(), None)
        self._stop()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, function: Callable[[], T]) -> T:
        """Calls a function in the loop's thread."""

        async def call() -> T:
            return function()

        return self._wait(call(), None)

    def _wait(self, work: Coroutine[Any, Any, T], timeout: float | None) -> T:
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result(timeout)
        except concurrent.futures.TimeoutError as error:
            if running.done():
                raise
            running.cancel()
            why = f"nothing within {timeout:g} s; it may have happened nevertheless"
            raise TimedOut("timed_out", why, retry="later") from error
        except BaseException:
            # Such as KeyboardInterrupt: the result is no longer needed.
            running.cancel()
            raise


class Subscription(Iterator[Event]):
    """One channel, or all that match a filter. Iterate over it, or get the ``next`` event with a
    timeout.
    """

    def __init__(self, client: Client, subscription: AsyncSubscription) -> None:
        self._client = client
        self._subscription = subscription

    @property
    def position(self) -> str | None:
        """The position of the last handled message."""
        return self._client._call(lambda: self._subscription.position)  # noqa: SLF001 - the same module

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Event:
        return self.next()

    def next(self, timeout: float | None = None) -> Event:
        """The next event. Raises ``TimedOut`` without losing it, ``StopIteration`` at the end."""

        async def following() -> Event | None:
            # A StopAsyncIteration can't cross a future.
            return await anext(self._subscription, None)

        event = self._client._wait(following(), timeout)  # noqa: SLF001
        if event is None:
            raise StopIteration
        return event

    def done(self, message: Message, *, cumulative: bool = False) -> None:
        """With a ``window``: done with this message, or with all up to it."""
        self._client._call(lambda: self._subscription.done(message, cumulative=cumulative))  # noqa: SLF001

    def unsubscribe(self) -> None:
        """Ends it."""
        self._client._call(self._subscription.unsubscribe)  # noqa: SLF001

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unsubscribe()
