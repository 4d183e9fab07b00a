"""Publications until the server has answered: each with its key, over as many connections as necessary.

The key makes it safe to send a publication again that may have arrived. A server may refuse one publication temporarily
and accept the next: to keep their order, a channel has one in flight at a time.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from ..errors import OffhookError, TimedOut, Unavailable
from ..events import Published
from ..settings import Outbox as Settings

LATER = 1.0
"""The delay if a server answers ``later`` without a time."""


@dataclass(slots=True, order=True)
class Entry:
    """A publication. Entries are ordered by the time of publishing."""

    request: int
    channel: str = field(compare=False)
    body: str = field(compare=False)
    """Its JSON after ``{"type":"publish","id":…,``."""
    size: int = field(compare=False)
    is_ordered: bool = field(compare=False)
    is_queued: bool = field(compare=False)
    """Whether it waits for a connection; otherwise it is sent now and once, or not at all."""
    sent_at: float | None = field(compare=False, default=None)
    """When it was sent for the first time."""
    id: int | None = field(compare=False, default=None)
    """Its id on this connection, while it has no answer."""
    is_abandoned: bool = field(compare=False, default=False)
    """Its answer is no longer needed; it is not sent again."""


Outcome = tuple[int, "Published | OffhookError"]


class Outbox:
    """Publications that wait, and those in flight."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entries: dict[int, Entry] = {}
        self._size = 0
        # Ordered publications by channel; only the first of a channel may be in flight.
        self._lanes: dict[str, deque[Entry]] = {}
        # A heap of the publications that may be sent now.
        self._ready: list[Entry] = []
        self._in_flight: dict[int, Entry] = {}
        # Sent at least once, the oldest first.
        self._tried: dict[int, Entry] = {}
        self._is_open = False
        self._paused_until = 0.0
        self._outcomes: deque[Outcome] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry, now: float) -> None:
        """Queues a publication. Raises ``Unavailable`` if the queue is full."""
        limits = self._settings
        if not entry.is_queued and not self._can_send(now):
            raise _not_queued()
        if len(self._entries) >= limits.count or self._size + entry.size > limits.size:
            waiting = f"{len(self._entries)} publications of {self._size} bytes wait for an answer"
            limit = f"the limit is {limits.count} of {limits.size} bytes"
            raise Unavailable("queue_full", f"{waiting}; {limit}; await some", retry="later")
        self._entries[entry.request] = entry
        self._size += entry.size
        if not entry.is_ordered:
            heapq.heappush(self._ready, entry)
            return
        lane = self._lanes.setdefault(entry.channel, deque())
        lane.append(entry)
        if len(lane) == 1:
            heapq.heappush(self._ready, entry)

    def cancel(self, request: int) -> None:
        """The answer is no longer needed. A publication that was not sent yet is not published."""
        entry = self._entries.get(request)
        if entry is None:
            return
        if entry.id is not None:
            entry.is_abandoned = True
        else:
            self._remove(entry)

    def handle_opened(self) -> None:
        """There is a connection on which to publish."""
        self._is_open = True
        self._paused_until = 0.0

    def handle_lost(self) -> None:
        """Unanswered publications are sent again on the next connection."""
        self._is_open = False
        under_way = list(self._in_flight.values())
        self._in_flight.clear()
        for entry in under_way:
            entry.id = None
            if entry.is_abandoned:
                self._remove(entry)
            elif entry.is_queued:
                heapq.heappush(self._ready, entry)
            else:
                self._settle(entry, _unknown())
        # Accepted to be sent at once, but not sent.
        for entry in [entry for entry in self._ready if not entry.is_queued]:
            self._settle(entry, _not_queued())

    def handle_answer(self, number: int, result: Published | OffhookError, now: float) -> bool:
        """Whether this was the answer to a publication."""
        entry = self._in_flight.pop(number, None)
        if entry is None:
            return False
        entry.id = None
        is_final = isinstance(result, Published) or result.retry == "never"
        if is_final or not entry.is_queued or entry.is_abandoned:
            self._settle(entry, result)
        else:
            heapq.heappush(self._ready, entry)
        if not is_final and isinstance(result, OffhookError):
            if result.retry == "reconnect":
                self._is_open = False
            else:
                wait = LATER if result.retry_after is None else result.retry_after
                self._paused_until = max(self._paused_until, now + wait)
        return True

    def drop_largest(self, error: OffhookError) -> bool:
        """The connection ended because a message was too large: the largest in flight is not sent again."""
        largest = max(self._in_flight.values(), key=lambda entry: entry.size, default=None)
        if largest is None:
            return False
        self._settle(largest, error)
        return True

    def close(self, error: OffhookError) -> None:
        """Nothing will be sent any more."""
        self._is_open = False
        for entry in list(self._entries.values()):
            self._settle(entry, error)

    def poll_transmit(self, number: int, now: float) -> str | None:
        """The next publication to send, with this id."""
        if not self._ready or not self._can_send(now):
            return None
        entry = heapq.heappop(self._ready)
        entry.id = number
        if entry.sent_at is None:
            entry.sent_at = now
            self._tried[entry.request] = entry
        self._in_flight[number] = entry
        return f'{{"type":"publish","id":{number},{entry.body}'

    def poll_outcome(self) -> Outcome | None:
        """The result of a publication."""
        return self._outcomes.popleft() if self._outcomes else None

    def poll_timeout(self) -> float | None:
        """When to call ``handle_timeout``."""
        oldest = next(iter(self._tried.values()), None)
        due = []
        if oldest is not None and oldest.sent_at is not None:
            due.append(oldest.sent_at + self._settings.give_up_after)
        if self._is_open and self._ready and self._paused_until > 0.0:
            due.append(self._paused_until)
        return min(due, default=None)

    def handle_timeout(self, now: float) -> None:
        """Rejects publications that were unanswered for too long; ends pauses."""
        if self._paused_until <= now:
            self._paused_until = 0.0
        for entry in list(self._tried.values()):
            if entry.sent_at is None or now < entry.sent_at + self._settings.give_up_after:
                break
            waited = f"no answer for {self._settings.give_up_after:g} s; servers forget keys after an hour"
            self._settle(entry, TimedOut("timed_out", f"{waited}; it may have been published"))

    def _can_send(self, now: float) -> bool:
        is_busy = len(self._in_flight) >= self._settings.in_flight
        return self._is_open and not is_busy and now >= self._paused_until

    def _settle(self, entry: Entry, result: Published | OffhookError) -> None:
        self._remove(entry)
        if not entry.is_abandoned:
            self._outcomes.append((entry.request, result))

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.request]
        self._tried.pop(entry.request, None)
        self._size -= entry.size
        if entry.id is not None:
            self._in_flight.pop(entry.id, None)
        elif entry in self._ready:
            self._ready.remove(entry)
            heapq.heapify(self._ready)
        if entry.is_ordered:
            self._leave_lane(entry)

    def _leave_lane(self, entry: Entry) -> None:
        lane = self._lanes[entry.channel]
        was_first = lane[0] is entry
        lane.remove(entry)
        if not lane:
            del self._lanes[entry.channel]
        elif was_first:
            heapq.heappush(self._ready, lane[0])


def _not_queued() -> OffhookError:
    why = "there is no connection, or it is busy, and the publication must not wait (queue=False)"
    return Unavailable("offline", why, retry="later")


def _unknown() -> OffhookError:
    why = "the connection was lost before the answer; it may have been published (queue=False)"
    return TimedOut("timed_out", why, retry="later")
