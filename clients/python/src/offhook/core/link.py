"""Keeps a connection open: opens one, notices its end, waits, and opens the next.

It does not examine messages and stores none.

::

             ┌───────── timeout, hurry() ───────────┐
             ▼                                      │
  idle ─▶ connecting ──── opened ──▶ open ─ lost ─▶ waiting
             └─────── failed, in time or not ───────▲
  any ── stop(), or an end that rules out reconnecting ──▶ closed
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import Closed, OffhookError, Unavailable
from ..events import State
from ..settings import Backoff

# docs/protocol.md, "Handshake and close codes": ended by either side on purpose, a rule of the WebSocket protocol or of
# the server broken, a message too large, replaced, disconnected, identity expired. Any other end is temporary.
_FINAL = frozenset({1000, 1002, 1007, 1008, 1009, 4001, 4002, 4003})

ABANDONED = 4000
"""The code with which the client closes a connection that it considers dead. Not 1000, which would end the session."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a connection; its events are reported with this number."""

    connection: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close a connection, whether it is open already or not, without waiting for it."""

    connection: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ended, or why it could not be opened."""

    code: int = 1006
    reason: str = ""
    is_final: bool = False
    """The same attempt would fail again, whatever the code is."""
    at_least: float = 0.0
    """How long the server asks to wait, in seconds, such as a ``Retry-After``."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Information about the end of a connection in addition to its code."""

    comes_back: bool | None = None
    """Whether to reconnect; ``None``: depending on the code."""
    after: float | None = None
    """Reconnect after exactly this long; the server chose the time for this client."""
    at_least: float = 0.0


class Link:
    """See the drawing above."""

    def __init__(self, backoff: Backoff, open_within: float, random: Callable[[], float]) -> None:
        self.state = State("connecting", attempt=1)
        self.connection = 0
        self._backoff = backoff
        self._open_within = open_within
        self._random = random
        self._attempts = 0
        self._opened_at: float | None = None
        # While connecting: when to give up. While waiting: when to try again.
        self._due: float | None = None
        # Never before this time: the server requested it.
        self._not_before = 0.0
        self._actions: deque[Open | Close] = deque()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self.state.name == "open"

    @property
    def is_closed(self) -> bool:
        """Whether it is closed permanently."""
        return self.state.name == "closed"

    def start(self, now: float) -> None:
        """Makes the first attempt."""
        if not self.is_closed:
            self._attempt(now)

    def handle_opened(self, now: float) -> None:
        """The newest connection is open."""
        self._opened_at = now
        self._due = None
        self.state = State("open")

    def handle_lost(self, end: End, verdict: Verdict, now: float) -> None:
        """The newest connection ended, or could not be opened."""
        if self._opened_at is not None and now - self._opened_at >= self._backoff.stable:
            self._attempts = 0
        self._opened_at = None
        self.connection += 1
        comes_back = verdict.comes_back
        if comes_back is None:
            comes_back = end.code not in _FINAL and not end.is_final
        if not comes_back:
            self._finish(None if end.code == 1000 else _closed_by(end))
            return
        wait = verdict.after
        if wait is None:
            wait = max(self._pause(), verdict.at_least, end.at_least)
            self._not_before = now + max(verdict.at_least, end.at_least)
        else:
            self._not_before = now + wait
        self._due = now + wait
        why = Unavailable("offline", f"the connection was lost with {_describe(end)}", retry="later")
        self.state = State("waiting", attempt=self._attempts, retry_in=wait, error=why)

    def abandon(self, reason: str, verdict: Verdict, now: float) -> None:
        """Abandons the newest connection and reconnects."""
        if self.state.name not in ("open", "connecting"):
            return
        self._actions.append(Close(self.connection, ABANDONED, reason))
        self.handle_lost(End(reason=reason), verdict, now)

    def stop(self, code: int, reason: str, error: OffhookError | None) -> None:
        """Closes permanently."""
        if self.state.name in ("open", "connecting"):
            self._actions.append(Close(self.connection, code, reason))
        self.connection += 1
        self._finish(error)

    def hurry(self, now: float) -> None:
        """An attempt may succeed now: ends the wait, unless the server requested it."""
        if self.state.name == "waiting":
            self._due = max(now, self._not_before)
            self.handle_timeout(now)

    def poll_action(self) -> Open | Close | None:
        """What the driver has to do next."""
        return self._actions.popleft() if self._actions else None

    def poll_timeout(self) -> float | None:
        """When to call ``handle_timeout``."""
        return self._due

    def handle_timeout(self, now: float) -> bool:
        """Whether the current attempt took too long; a wait that is over becomes an attempt."""
        if self._due is None or now < self._due:
            return False
        if self.state.name == "waiting":
            self._attempt(now)
            return False
        return self.state.name == "connecting"

    def _attempt(self, now: float) -> None:
        self._attempts += 1
        self.connection += 1
        self._due = now + self._open_within
        self.state = State("connecting", attempt=self._attempts)
        self._actions.append(Open(self.connection))

    def _pause(self) -> float:
        # 2^30 times any bound is above any cap; beyond that it would only overflow.
        doubled = self._backoff.first * 2.0 ** min(max(self._attempts - 1, 0), 30)
        return self._random() * min(self._backoff.cap, doubled)

    def _finish(self, error: OffhookError | None) -> None:
        self._due = None
        if not self.is_closed:
            self.state = State("closed", error=error)


def _describe(end: End) -> str:
    return f"{end.code}: {end.reason or 'no reason given'}"


def _closed_by(end: End) -> OffhookError:
    if end.code == 4001:
        return Closed(
            "replaced",
            "the session was resumed on another connection; make a new client only if you must",
        )
    if end.code == 4003:
        return Closed("expired", "the session's authentication has expired; connect with a new token")
    return Closed("closed", f"the connection was closed permanently with {_describe(end)}")
