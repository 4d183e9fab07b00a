"""One subscription as its reader sees it: where it is, and the events that were not taken yet.

::

  waiting ─▶ asked ─▶ catching_up ◀─▶ live        any ─▶ ended
     │                    ▲            ▲
     └──── expected ──────┴────────────┘      paused: the reader is slow

``expected``: restored by a resume token, but not announced yet.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .. import position as positions
from ..errors import OffhookError
from ..events import CatchingUp, Event, Filter, Gap, Last, Live, Message, Own, Since, Subscribed
from ..settings import Inbox
from ..wire import ChannelEvent, Key, SubscribedTo


class Phase(Enum):
    """See the diagram above."""

    WAITING = "waiting"
    ASKED = "asked"
    EXPECTED = "expected"
    CATCHING_UP = "catching_up"
    LIVE = "live"
    PAUSED = "paused"
    ENDED = "ended"


SERVED = (Phase.CATCHING_UP, Phase.LIVE)
"""The server has the subscription."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The properties of a wanted subscription."""

    target: str | Filter
    since: Since = "now"
    presence: bool = False
    echo: bool = True
    window: int | None = None
    has_token: bool = False
    """Whether each request needs a subscription token."""
    renews_token: bool = False
    """Whether there is another one when it has expired."""

    @property
    def name(self) -> str:
        """The channel or the filter."""
        return self.target.pattern if isinstance(self.target, Filter) else self.target

    def options(self) -> dict[str, Any]:
        """The fields of a ``subscribe`` other than the target and the start."""
        fields: dict[str, Any] = {}
        if self.presence:
            fields["presence"] = True
        if not self.echo:
            fields["echo"] = False
        if self.window is not None:
            fields["window"] = self.window
        return fields


class Following:
    """A subscription's state and inbox."""

    def __init__(self, number: int, wish: Wish, key: Key, inbox: Inbox) -> None:
        self.number = number
        self.wish = wish
        self.key = key
        """What names it to the server: a number, or else its channel."""
        self.phase = Phase.WAITING
        self.received: str | None = None
        """The newest received position."""
        self.handled: str | None = None
        """The position of the newest event that its reader has handled."""
        self.asked: int | None = None
        """The ``id`` of the ``subscribe`` in flight."""
        self.error: OffhookError | None = None
        self.token: str | None = None
        """The subscription token for the next request."""
        self.turn = 0
        """Counts the tokens that were wanted: one that was fetched for an earlier connection is ignored."""
        self.ask_at: float | None = None
        """When to ask again after the server said ``later``."""
        self.done_again: list[str] = []
        """Redelivered messages that were done before: the server has to be told
        again.
        """
        # In acknowledged flow: what the reader is not done with, and the position before each message, oldest first.
        self._undone: dict[str, str] = {}
        self._newest: str | None = None
        self._limits = inbox
        self._events: deque[tuple[Event, int]] = deque()
        self._size = 0
        # The event that the reader has now; it counts as handled when the next one is requested.
        self._taken: Event | None = None

    @property
    def is_full(self) -> bool:
        """Whether the inbox is full."""
        return len(self._events) >= self._limits.count or self._size >= self._limits.size

    @property
    def is_empty(self) -> bool:
        """Whether the reader has everything."""
        return not self._events

    def request(self) -> dict[str, Any]:
        """The ``subscribe`` that continues from the present position."""
        kind = "filter" if isinstance(self.wish.target, Filter) else "channel"
        message: dict[str, Any] = {"type": "subscribe", kind: self.wish.name}
        if isinstance(self.key, int):
            message["subscription"] = self.key
        since = self._done_up_to or self.received or self.wish.since
        message |= {"since": written(since), **self.wish.options()}
        if self.token is not None:
            message["token"], self.token = self.token, None
        return message

    def handle_subscribed(self, message: SubscribedTo, size: int) -> None:
        """The server has it, and begins."""
        self.phase = Phase.LIVE if message.live else Phase.CATCHING_UP
        self.asked = None
        if message.live:
            # Nothing is missing: the next message follows this position.
            self.received = message.position
        self._put(Subscribed(message.name, message.position, message.live, message.id is None), size)

    def handle(self, event: ChannelEvent, size: int) -> None:
        """Handles a message of the server about a subscription that it has."""
        if isinstance(event, Message | Own):
            self._message(event, size)
            return
        if isinstance(event, Gap):
            self._skip(event)
        elif isinstance(event, Live):
            self.phase = Phase.LIVE
            self.received = self.received or event.position
        elif isinstance(event, CatchingUp):
            self.phase = Phase.CATCHING_UP
        self._put(event, size)

    def take(self) -> Event | None:
        """The next event; the previous one is handled now."""
        if self._taken is not None:
            self._is_handled(self._taken)
            self._taken = None
        if not self._events:
            return None
        self._taken, size = self._events.popleft()
        self._size -= size
        return self._taken

    def done(self, message: Message, cumulative: bool) -> None:
        """The reader is done with a message, or with all up to it. Raises ``ValueError`` without a window."""
        if self.wish.window is None:
            raise ValueError(f"done: {self.wish.name!r} was subscribed to without a window")
        place = message.place
        for other in list(self._undone):
            if other == place or (cumulative and positions.is_before(other, place)):
                del self._undone[other]
        self.handled = self._done_up_to or self._newest

    def discard(self) -> None:
        """Its reader is gone."""
        self._events.clear()
        self._size = 0

    @property
    def _is_filter(self) -> bool:
        return isinstance(self.wish.target, Filter)

    @property
    def _done_up_to(self) -> str | None:
        """The position up to which the reader is done, while it is not done with everything."""
        return next(iter(self._undone.values()), None)

    def _message(self, event: Message | Own, size: int) -> None:
        if isinstance(event, Message) and event.is_state:
            # Values of the state have holes between them, and are sent again
            # until the stream continues.
            self._put(event, size)
            return
        before = self.received
        place = event.place
        if self.wish.window is not None and before is not None and not positions.is_before(before, place):
            # The reader already has it. Unless the reader is still busy with
            # it, the server was not told that it is done.
            if place not in self._undone:
                self.done_again.append(place)
            return
        step = "next" if self._is_filter else positions.step(before, event.previous, event.position)
        if step == "repeated":
            return
        if step == "hole" and before is not None:
            # The protocol rules this out; it is reported to the reader all the
            # same.
            self._put(Gap(self.wish.name, before, event.previous, "unannounced"), 0)
        self.received = self._newest = place
        if self.wish.window is not None and isinstance(event, Message):
            self._undone[place] = before or positions.before(place)
        self._put(event, size)

    def _skip(self, gap: Gap) -> None:
        if gap.is_partial:
            # It is about one of the channels; the filter's own position is unchanged.
            return
        # The stream continues from an earlier position: messages after that are
        # no longer part of it.
        is_back = positions.is_before(gap.to, gap.from_)
        if is_back:
            self._undone = {p: b for p, b in self._undone.items() if not positions.is_before(gap.to, p)}
        # The server no longer keeps what the reader has already.
        has_it = self.wish.window is not None and self.received and not positions.is_before(self.received, gap.to)
        if is_back or not has_it:
            self.received = gap.to

    def _is_handled(self, event: Event) -> None:
        """Moves the reader's position. In acknowledged flow, messages count
        when they are done.
        """
        if self._undone:
            self.handled = self._done_up_to
        elif isinstance(event, Message):
            if self.wish.window is None and not event.is_state:
                self.handled = event.place
        elif isinstance(event, Own):
            self.handled = event.place
        elif isinstance(event, Live) or (isinstance(event, Subscribed) and event.live):
            self.handled = event.position
        elif isinstance(event, Gap) and not event.is_partial:
            self.handled = event.to

    def _put(self, event: Event, size: int) -> None:
        self._events.append((event, size))
        self._size += size


def written(since: Since) -> str | dict[str, int]:
    """A start in the notation of the protocol."""
    return {"last": since.count} if isinstance(since, Last) else since
