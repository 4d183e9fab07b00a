"""All subscriptions, and how they are restored on a new connection.

Those in the resume token are announced by the server; the others are requested from their positions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from ..errors import OffhookError, refusal
from ..events import Event, Filter, Message
from ..settings import Inbox
from ..wire import Delivered, Key, SubscribedTo, UnsubscribedFrom
from .following import SERVED, Following, Phase, Wish, written
from .outbox import LATER

ANNOUNCED_WITHIN = 10.0
"""A restored subscription that is not announced within this was not in the token. 10 s: a server's own limit."""

MOST_AT_ONCE = 256
"""The maximum number of channels in one ``subscribe``. 256: the limit of servers."""


class Subscriptions:
    """The subscriptions of a client."""

    def __init__(self, inbox: Inbox, numbers: Iterator[int]) -> None:
        self._inbox = inbox
        # For subscriptions that the server makes.
        self._numbers = numbers
        self._by_key: dict[Key, Following] = {}
        self._by_number: dict[int, Following] = {}
        self._next_key = 0
        # Subscriptions to request, and targets to unsubscribe from.
        self._to_tell: deque[Following | Key] = deque()
        self._done_again: deque[dict[str, Any]] = deque()
        self._is_open = False
        # The subscriptions that the newest token restores: those announced on this connection before
        # it arrived.
        self._sealed: set[Key] = set()
        self._announced_by: float | None = None
        # Those to request again after the server said `later`.
        self._later: set[Following] = set()
        # Since when inboxes are full and the connection is not read.
        self._full: set[int] = set()
        self._full_since: float | None = None
        self._changed: deque[int] = deque()
        # Subscriptions that the server has made, to be shown to the program; and the keys of those that it does not
        # read, which are kept since the server wants them.
        self._made: deque[Following] = deque()
        self._unread: set[Key] = set()
        # Subscriptions that need a token, and the turn that it is for.
        self._tokens_wanted: deque[tuple[int, int]] = deque()

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, number: int) -> Following | None:
        """A subscription, as long as it has a reader."""
        return self._by_number.get(number)

    def positions(self) -> dict[str, dict[str, str]]:
        """The positions that a resuming client sends, by channel and by number."""
        known = [(f.key, f.received) for f in self._by_key.values() if f.received is not None]
        return {
            "positions": {key: received for key, received in known if isinstance(key, str)},
            "subscription_positions": {str(key): received for key, received in known if isinstance(key, int)},
        }

    def add(self, number: int, wish: Wish) -> Following:
        """A new subscription."""
        key: Key = wish.name
        is_taken = wish.name in self._by_key or wish.name in self._unread
        if isinstance(wish.target, Filter) or wish.window is not None or is_taken:
            key = self._next_key
            self._next_key += 1
        following = Following(number, wish, key, self._inbox)
        self._by_key[key] = self._by_number[number] = following
        self._ask(following)
        return following

    def done(self, number: int, message: Message, cumulative: bool) -> dict[str, Any] | None:
        """The reader is done with a message; returns the message for the server, if it has the
        subscription.
        """
        following = self._by_number.get(number)
        if following is None:
            return None
        following.done(message, cumulative)
        # On a new connection the message is delivered again, and the server is told then.
        return _done(following, message.place, cumulative) if following.phase in SERVED else None

    def poll_done(self) -> dict[str, Any] | None:
        """The next redelivered message that the reader was already done with."""
        return self._done_again.popleft() if self._done_again else None

    def remove(self, number: int) -> None:
        """Ends a subscription whose reader is gone."""
        following = self._by_number.pop(number, None)
        if following is None:
            return
        if following.phase is not Phase.ENDED:
            self._tell_server(following)
            self._end(following, None)
        following.discard()
        self._set_full(following, following.is_full)

    def take(self, number: int, now: float) -> Event | None:
        """The next event of a subscription."""
        following = self._by_number.get(number)
        if following is None:
            return None
        event = following.take()
        self._set_full(following, following.is_full)
        if following.phase is Phase.PAUSED and following.is_empty:
            following.phase = Phase.WAITING
            self._ask(following)
        return event

    def handle_opened(self, resumed: bool, now: float) -> None:
        """There is a connection; ``resumed`` with a token."""
        self._is_open = True
        for following in self._by_key.values():
            if following.phase is Phase.PAUSED:
                continue
            if resumed and following.key in self._sealed:
                following.phase = Phase.EXPECTED
            else:
                self._ask(following)
        if not resumed:
            self._sealed.clear()
            self._unread.clear()
        self._announced_by = now + ANNOUNCED_WITHIN

    def poll_token_wanted(self) -> tuple[int, int] | None:
        """A subscription that needs a token, and the turn that it is for."""
        return self._tokens_wanted.popleft() if self._tokens_wanted else None

    def channel_of(self, number: int) -> str | None:
        """The channel or filter of a subscription."""
        following = self._by_number.get(number)
        return None if following is None else following.wish.name

    def handle_token_for(self, number: int, turn: int, token: str | None) -> None:
        """The token that was wanted; ``None``: there is none, and the subscription ends."""
        following = self._awaits_token(number, turn)
        if following is None:
            return
        if token is None:
            self._end(following, refusal("unauthenticated", f"no token for {following.wish.name}", "never", None))
            return
        following.token = token
        self._ask(following)

    def handle_no_token_for(self, number: int, turn: int, now: float) -> None:
        """The token could not be fetched: it is wanted again later."""
        following = self._awaits_token(number, turn)
        if following is not None:
            self._ask_later(following, now + LATER)

    def _awaits_token(self, number: int, turn: int) -> Following | None:
        following = self._by_number.get(number)
        if following is None or following.turn != turn or following.phase is not Phase.WAITING:
            return None
        return following

    def handle_lost(self) -> None:
        """There is no connection."""
        self._is_open = False
        self._tokens_wanted.clear()
        self._announced_by = None
        self._later.clear()
        self._to_tell.clear()
        for following in self._by_key.values():
            following.asked = following.ask_at = following.token = None
            following.turn += 1
            if following.phase is not Phase.PAUSED:
                following.phase = Phase.WAITING

    def handle_token(self) -> None:
        """A token arrived: it restores the present subscriptions of this connection."""
        self._sealed = {f.key for f in self._by_key.values() if f.phase in SERVED}

    def handle_restored(self) -> None:
        """All that the token restored has been announced."""
        self._announced_by = None
        for following in self._by_key.values():
            if following.phase is Phase.EXPECTED:
                self._ask(following)

    def handle_subscribed(self, message: SubscribedTo, size: int, now: float) -> None:
        """A subscription starts, requested or restored."""
        following = self._by_key.get(message.key)
        is_answer = message.id is not None
        if following is None and message.is_made:
            following = self._make(message)
            following.handle_subscribed(message, size)
            self._gave(following, now)
            return
        if following is None and message.key in self._unread:
            return
        if following is not None and following.phase is not Phase.PAUSED:
            knows = following.received is not None and following.phase not in SERVED
            if message.is_made:
                # It begins now, and not where a restored one would go on.
                begins = following.received or following.wish.since
                knows = message.live and following.phase not in SERVED and begins in ("now", message.position)
            if following.asked == message.id if is_answer else knows:
                following.handle_subscribed(message, size)
                self._gave(following, now)
                return
        # The answer to an old request that was repeated: the repetition has its own.
        if is_answer or (following is not None and following.phase in SERVED):
            return
        # The token contains it from before, but it is not wanted any more, or not from that
        # position.
        self._to_tell.append(message.key)
        if following is not None and following.phase is not Phase.PAUSED:
            self._ask(following)

    def _make(self, message: SubscribedTo) -> Following:
        self._unread.discard(message.key)
        following = Following(next(self._numbers), Wish(message.name), message.key, self._inbox)
        self._by_key[message.key] = self._by_number[following.number] = following
        self._made.append(following)
        return following

    def poll_made(self) -> tuple[int, Wish] | None:
        """A subscription that the server has made, for the program."""
        if not self._made:
            return None
        following = self._made.popleft()
        return following.number, following.wish

    def ignore(self, number: int) -> None:
        """Nobody reads this subscription, which the server has made: it is kept, and its messages are ignored."""
        following = self._by_number.pop(number)
        if following.phase is not Phase.ENDED:
            del self._by_key[following.key]
            self._unread.add(following.key)
        following.discard()
        self._set_full(following, False)

    def handle_unsubscribed(self, message: UnsubscribedFrom, now: float) -> None:
        """The answer to an ``unsubscribe``, or the server ended a subscription."""
        self._unread.discard(message.key)
        following = self._by_key.get(message.key)
        if following is None or message.id is not None or following.phase is Phase.PAUSED:
            return
        if following.wish.renews_token and message.error.code == "forbidden":
            # Its token has expired. Not at once: a server cannot make the client spin.
            self._ask_later(following, now + LATER)
        else:
            self._try_again_or_end(following, message.error, now)

    def handle_event(self, delivered: Delivered, size: int, now: float) -> None:
        """Something about a subscription."""
        following = self._by_key.get(delivered.key)
        # Messages in flight before an `unsubscribe`, or before the `subscribed`, are ignored.
        if following is not None and following.phase in SERVED:
            following.handle(delivered.event, size)
            self._done_again.extend(_done(following, place, cumulative=False) for place in following.done_again)
            following.done_again.clear()
            self._gave(following, now)

    def handle_refused(self, number: int, error: OffhookError, now: float) -> bool:
        """Whether the error was the answer to a ``subscribe``."""
        asked = (f for f in self._by_key.values() if f.asked == number)
        following = next(asked, None)
        if following is None:
            return False
        following.asked = None
        if error.code == "already_subscribed" and isinstance(following.key, str):
            # By the token, then: it will be announced.
            following.phase = Phase.EXPECTED
        else:
            self._try_again_or_end(following, error, now)
        return True

    def close(self, error: OffhookError | None) -> None:
        """All end."""
        self.handle_lost()
        for following in list(self._by_key.values()):
            self._end(following, error)

    def wants_input(self) -> bool:
        """False while the connection should not be read, since a reader is behind."""
        return self._full_since is None

    def poll_message(self, number: int) -> dict[str, Any] | None:
        """The next message for the server, with this id and, for several channels, the following
        ids.
        """
        if not self._to_tell:
            return None
        what = self._to_tell.popleft()
        if not isinstance(what, Following):
            return {"type": "unsubscribe", "channel" if isinstance(what, str) else "subscription": what}
        together = [what]
        while len(together) < MOST_AT_ONCE and (other := self._pop_alike(what)) is not None:
            together.append(other)
        for offset, following in enumerate(together):
            following.asked = number + offset
        if len(together) == 1:
            return what.request()
        return {
            "type": "subscribe",
            "channels": [following.wish.name for following in together],
            "since": written(what.wish.since),
            "positions": {f.wish.name: f.received for f in together if f.received is not None},
            **what.wish.options(),
        }

    def _pop_alike(self, first: Following) -> Following | None:
        """The next subscription to request, if that is possible in the same message."""
        other = self._to_tell[0] if self._to_tell else None
        if not isinstance(other, Following) or isinstance(first.key, int) or isinstance(other.key, int):
            return None
        if first.wish.has_token or other.wish.has_token:
            # A token is for one channel.
            return None
        if (first.wish.since, first.wish.options()) != (other.wish.since, other.wish.options()):
            return None
        self._to_tell.popleft()
        return other

    def poll_changed(self) -> int | None:
        """The number of a subscription that has events for its reader."""
        return self._changed.popleft() if self._changed else None

    def poll_timeout(self) -> float | None:
        """When to call ``handle_timeout``."""
        times = [f.ask_at for f in self._later if f.ask_at is not None]
        if self._announced_by is not None:
            times.append(self._announced_by)
        if self._full_since is not None:
            times.append(self._full_since + self._inbox.patience)
        return min(times, default=None)

    def handle_timeout(self, now: float) -> None:
        """Repeats delayed requests; pauses readers that are behind for too long."""
        if self._announced_by is not None and now >= self._announced_by:
            self.handle_restored()
        for following in [f for f in self._later if f.ask_at is not None and now >= f.ask_at]:
            self._ask(following)
        if self._full_since is not None and now >= self._full_since + self._inbox.patience:
            self._pause_full()

    def _ask(self, following: Following) -> None:
        if not self._is_open:
            return
        following.asked = following.ask_at = None
        self._later.discard(following)
        if following.wish.has_token and following.token is None:
            following.phase = Phase.WAITING
            following.turn += 1
            self._tokens_wanted.append((following.number, following.turn))
            return
        following.phase = Phase.ASKED
        if following not in self._to_tell:
            self._to_tell.append(following)

    def _tell_server(self, following: Following) -> None:
        """The server need not send any more."""
        if following in self._to_tell:
            self._to_tell.remove(following)
        elif self._is_open and following.phase in (Phase.ASKED, *SERVED):
            self._to_tell.append(following.key)
        # Expected: the server announces it, and is told then that it is not wanted.

    def _try_again_or_end(self, following: Following, error: OffhookError, now: float) -> None:
        if error.retry == "never":
            self._end(following, error)
            return
        following.phase = Phase.WAITING
        if error.retry == "later":
            self._ask_later(following, now + (LATER if error.retry_after is None else error.retry_after))

    def _ask_later(self, following: Following, at: float) -> None:
        following.phase = Phase.WAITING
        following.ask_at = at
        self._later.add(following)

    def _end(self, following: Following, error: OffhookError | None) -> None:
        del self._by_key[following.key]
        following.phase = Phase.ENDED
        following.error = error
        self._later.discard(following)
        self._changed.append(following.number)

    def _gave(self, following: Following, now: float) -> None:
        self._changed.append(following.number)
        if following.is_full:
            self._set_full(following, True)
            if self._full_since is None:
                self._full_since = now

    def _set_full(self, following: Following, is_full: bool) -> None:
        if is_full:
            self._full.add(following.number)
            return
        self._full.discard(following.number)
        if not self._full:
            self._full_since = None

    def _pause_full(self) -> None:
        for number in self._full:
            following = self._by_number[number]
            if following.phase in SERVED:
                self._tell_server(following)
                following.phase = Phase.PAUSED
        self._full.clear()
        self._full_since = None


def _done(following: Following, position: str, cumulative: bool) -> dict[str, Any]:
    message = {"type": "done", "subscription": following.key, "position": position}
    return {**message, "cumulative": True} if cumulative else message
