"""One subscription: its position, and the events that its reader has not taken yet.

::

  waiting ─▶ asked ─▶ catching_up ◀─▶ live        any ─▶ ended
     │                    ▲            ▲
     └──── expected ──────┴────────────┘      paused: the reader is slow

``expected``: restored by a resume token, but not announced yet.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any

from .. import position as positions
from ..errors import OffhookError
from ..events import CatchingUp, Event, Gap, Last, Live, Message, Since, Subscribed
from ..settings import Inbox
from ..wire import ChannelEvent


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


class Following:
    """A subscription's state and inbox."""

    def __init__(self, number: int, channel: str, since: Since, presence: bool, inbox: Inbox) -> None:
        self.number = number
        self.channel = channel
        self.phase = Phase.WAITING
        self.received: str | None = None
        """The newest position received: a new connection continues from there."""
        self.handled: str | None = None
        """The position of the newest event that its reader has handled."""
        self.asked: int | None = None
        """The ``id`` of the ``subscribe`` in flight."""
        self.error: OffhookError | None = None
        self.ask_at: float | None = None
        """When to try again after the server said ``later``."""
        self._since = since
        self._presence = presence
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
        """The ``subscribe`` that continues from the current position."""
        since = self.received or self._since
        wanted = {"last": since.count} if isinstance(since, Last) else since
        message = {"type": "subscribe", "channel": self.channel, "since": wanted}
        return {**message, "presence": True} if self._presence else message

    def handle_subscribed(self, position: str, live: bool, resumed: bool, size: int) -> None:
        """The server has started the subscription."""
        self.phase = Phase.LIVE if live else Phase.CATCHING_UP
        self.asked = None
        if live:
            # Nothing is missing: the next message follows this position.
            self.received = position
        self._put(Subscribed(self.channel, position, live, resumed), size)

    def handle(self, event: ChannelEvent, size: int) -> None:
        """Handles a message about the channel while the server has the subscription."""
        if isinstance(event, Message):
            self._message(event, size)
            return
        if isinstance(event, Gap):
            self.received = event.to
        elif isinstance(event, Live):
            self.phase = Phase.LIVE
            self.received = self.received or event.position
        elif isinstance(event, CatchingUp):
            self.phase = Phase.CATCHING_UP
        self._put(event, size)

    def take(self) -> Event | None:
        """The next event; the previous one is handled now."""
        if self._taken is not None:
            self.handled = _position_after(self._taken) or self.handled
            self._taken = None
        if not self._events:
            return None
        self._taken, size = self._events.popleft()
        self._size -= size
        return self._taken

    def discard(self) -> None:
        """Its reader is gone."""
        self._events.clear()
        self._size = 0

    def _message(self, event: Message, size: int) -> None:
        step = positions.step(self.received, event.previous, event.position)
        if step == "repeated":
            return
        if step == "hole" and self.received is not None:
            # The protocol rules it out; the reader is told nevertheless.
            self._put(Gap(self.channel, self.received, event.previous, "unannounced"), 0)
        self.received = event.position
        self._put(event, size)

    def _put(self, event: Event, size: int) -> None:
        self._events.append((event, size))
        self._size += size


def _position_after(event: Event) -> str | None:
    """The position of a reader that has handled this event."""
    if isinstance(event, Message | Live):
        return event.position
    if isinstance(event, Gap):
        return event.to
    if isinstance(event, Subscribed) and event.live:
        return event.position
    return None
