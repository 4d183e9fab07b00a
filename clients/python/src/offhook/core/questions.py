"""Requests other than subscriptions and publications: history, presence, receipts, acknowledgements,
calls.

A question without an answer is asked again on the next connection, unless that could do something twice.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..errors import OffhookError, TimedOut, Unavailable
from ..wire import Failure, Result
from .outbox import LATER

MOST = 256
"""The maximum number of unanswered questions. 256: the limit of servers for one connection."""


class Repeats(Enum):
    """When a question may be sent again."""

    ALWAYS = "always"
    SAME_CONNECTION = "same connection"
    """When the server said ``later``, but not on another connection."""
    NEVER = "never"


@dataclass(slots=True)
class _Question:
    request: int
    message: dict[str, Any]
    within: float
    deadline: float
    repeats: Repeats
    id: int | None = None
    ask_at: float | None = None
    """Not before this: the server said ``later``."""


class Questions:
    """Questions that have no answer yet."""

    def __init__(self, within: float) -> None:
        self._within = within
        self._open: dict[int, _Question] = {}
        self._by_id: dict[int, _Question] = {}
        self._to_ask: deque[int] = deque()
        self._is_open = False
        self._outcomes: deque[tuple[int, Result | OffhookError]] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def add(
        self,
        request: int,
        message: dict[str, Any],
        now: float,
        *,
        repeats: Repeats = Repeats.ALWAYS,
        within: float | None = None,
    ) -> None:
        """Adds a question. Raises ``Unavailable`` if too many are unanswered; a ``done`` is limited by
        its window.
        """
        if len(self._open) >= MOST and repeats is not Repeats.SAME_CONNECTION:
            why = f"{MOST} questions wait for an answer, which is the limit; await some"
            raise Unavailable("queue_full", why, retry="later")
        within = self._within if within is None else within
        self._open[request] = _Question(request, message, within, now + within, repeats)
        self._to_ask.append(request)

    def cancel(self, request: int) -> None:
        """The answer is not needed any more."""
        question = self._open.pop(request, None)
        if question is None:
            return
        if question.id is not None:
            del self._by_id[question.id]
        elif question.ask_at is None:
            self._to_ask.remove(request)

    def handle_opened(self) -> None:
        """There is a connection on which to ask."""
        self._is_open = True

    def handle_lost(self) -> None:
        """Questions that may be repeated are asked again on the next connection."""
        self._is_open = False
        self._by_id.clear()
        for question in list(self._open.values()):
            was_sent = question.id is not None or question.repeats is Repeats.SAME_CONNECTION
            if was_sent and question.repeats is not Repeats.ALWAYS:
                del self._open[question.request]
                why = "the connection was lost before the answer; it may have been done"
                self._outcomes.append((question.request, Unavailable("offline", why, retry="later")))
        for question in self._open.values():
            question.id = question.ask_at = None
        self._to_ask = deque(self._open)

    def handle_answer(self, number: int, result: Result, now: float) -> bool:
        """Whether this was the answer to a question."""
        question = self._by_id.pop(number, None)
        if question is None:
            return False
        question.id = None
        error = result.error if isinstance(result, Failure) else None
        if error is None or error.retry == "never" or question.repeats is Repeats.NEVER:
            del self._open[question.request]
            self._outcomes.append((question.request, error or result))
        elif error.retry == "later":
            question.ask_at = now + (LATER if error.retry_after is None else error.retry_after)
        else:
            # The client reconnects in any case.
            question.ask_at = question.deadline
        return True

    def close(self, error: OffhookError) -> None:
        """There will be no more answers."""
        self._is_open = False
        self._outcomes.extend((request, error) for request in self._open)
        self._open.clear()
        self._by_id.clear()
        self._to_ask.clear()

    def poll_message(self, number: int) -> dict[str, Any] | None:
        """The next question to send, with this id."""
        if not self._is_open or not self._to_ask:
            return None
        question = self._open[self._to_ask.popleft()]
        question.id = number
        self._by_id[number] = question
        return question.message

    def poll_outcome(self) -> tuple[int, Result | OffhookError] | None:
        """What became of a question."""
        return self._outcomes.popleft() if self._outcomes else None

    def poll_timeout(self) -> float | None:
        """When to call ``handle_timeout``."""
        times = [question.deadline for question in self._open.values()]
        times += [q.ask_at for q in self._open.values() if q.ask_at is not None]
        return min(times, default=None)

    def handle_timeout(self, now: float) -> None:
        """Repeats questions that were deferred, and rejects those that took too long."""
        for question in list(self._open.values()):
            if now >= question.deadline:
                self.cancel(question.request)
                why = f"no answer within {question.within:g} s; ask again"
                late = TimedOut("timed_out", why, retry="later")
                self._outcomes.append((question.request, late))
            elif question.ask_at is not None and now >= question.ask_at:
                question.ask_at = None
                self._to_ask.append(question.request)
