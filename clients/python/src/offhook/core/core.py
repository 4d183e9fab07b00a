"""The client as a state machine without I/O.

Its owner reports events with ``handle_*``, then polls until everything returns ``None``:

- ``poll_action``: connections to open and to close,
- ``poll_transmit``: texts to send, polled only while the connection has room, so that nothing accumulates in it,
- ``poll_notice``: answers and events for the program,
- ``poll_timeout``: when to call ``handle_timeout``, at the latest.

Every time is in seconds on one clock of the owner's, which should keep running while the machine sleeps.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias

from ..errors import BadMessage, Closed, OffhookError, refusal
from ..events import Data, Event, Latency, Message, Published, State, Told, Warned
from ..payload import encode, write
from ..settings import Settings
from ..wire import (
    Answer,
    Closing,
    Delivered,
    Expiring,
    Failure,
    GoAway,
    Pong,
    Restored,
    Result,
    ServerMessage,
    SubscribedTo,
    Token,
    UnsubscribedFrom,
    Welcome,
    parse,
)
from .following import Following, Wish
from .heartbeat import Heartbeat
from .link import Close, End, Link, Open, Verdict
from .outbox import Entry, Outbox
from .questions import Questions, Repeats
from .subscriptions import Subscriptions

AFTER_FLOOD = 30.0
"""How long to wait, in seconds, after a server closed a connection because of too many messages."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a publication or a request."""

    request: int
    result: Result | OffhookError


@dataclass(frozen=True, slots=True)
class Ready:
    """A subscription has events for its reader, or has ended."""

    subscription: int


@dataclass(frozen=True, slots=True)
class TokenWanted:
    """The token expires soon: ``refresh`` with a newer one."""


@dataclass(frozen=True, slots=True)
class SubscriptionTokenWanted:
    """A subscription needs a token: ``give_token`` or ``give_no_token`` with this turn."""

    subscription: int
    channel: str
    turn: int


@dataclass(frozen=True, slots=True)
class SubscriptionMade:
    """The server has made a subscription: read it by its number, or ``ignore`` it."""

    subscription: int
    wish: Wish


Notice: TypeAlias = (
    Outcome | Ready | State | Latency | Told | Warned | TokenWanted | SubscriptionTokenWanted | SubscriptionMade
)


@dataclass(slots=True)
class _Connecting:
    """The ``connect`` in flight."""

    id: int | None
    resume: str | None


class Core:
    """One client."""

    def __init__(self, settings: Settings, rng: random.Random, info: Any = None, *, renews_token: bool = False) -> None:
        self._rng = rng
        # Whether there is a newer token for the next connection.
        self._renews_token = renews_token
        self._info = info
        self._link = Link(settings.backoff, settings.open_within, rng.random)
        self._heartbeat = Heartbeat(settings.heartbeat)
        self._outbox = Outbox(settings.outbox)
        self._questions = Questions(settings.answer_within)
        self._notices: deque[State | Latency | Told | Warned | TokenWanted] = deque()
        self._next_id = 1
        self._numbers = count(1)
        self._subscriptions = Subscriptions(settings.inbox, self._numbers)
        self._token: str | None = None
        self._resume: str | None = None
        self._connecting: _Connecting | None = None
        self._is_welcome = False
        self._owes_ping = False
        # When the oldest ping without an answer was sent, and with which id.
        self._pinged: tuple[int, float] | None = None
        # When the server told this client to reconnect.
        self._come_back_at: float | None = None
        self._closing: str | None = None
        self.state = self._link.state
        self.session: str | None = None
        self.user: str | None = None
        self.latency: float | None = None

    # Events.

    def handle_start(self, now: float) -> None:
        """Starts the client."""
        self._link.start(now)
        self._show_state()

    def handle_opened(self, connection: int, token: str | None, now: float) -> None:
        """A connection is open; ``token`` is for the server's authentication."""
        if connection != self._link.connection:
            return
        self._link.handle_opened(now)
        self._token = token
        self._connecting = _Connecting(None, self._resume)
        # The heartbeat's first request is the `connect`: a server that does not answer it is dead, too.
        self._heartbeat.start(now)

    def handle_received(self, connection: int, text: str | bytes, now: float) -> None:
        """A message was received."""
        if connection != self._link.connection or not self._link.is_open:
            return
        self._heartbeat.handle_heard(now)
        try:
            message = parse(text)
        except BadMessage as error:
            self._notices.append(Warned(error))
            return
        if message is not None:
            self._take(message, len(text), now)

    def handle_lost(self, connection: int, end: End, now: float) -> None:
        """A connection ended, or could not be opened."""
        if connection == self._link.connection and not self._link.is_closed:
            verdict = self._verdict(end, now)
            self._reset()
            self._link.handle_lost(end, verdict, now)
            self._settle_state()

    def handle_timeout(self, now: float) -> None:
        """Time passed."""
        if self._link.handle_timeout(now):
            self._abandon("it took too long to open", Verdict(), now)
        sign = self._heartbeat.handle_timeout(now)
        if sign == "dead":
            self._abandon("nothing was heard", Verdict(), now)
        elif sign == "ask":
            self._owes_ping = True
        if self._come_back_at is not None and now >= self._come_back_at:
            self._abandon("the server is going away", Verdict(after=0.0), now)
        self._outbox.handle_timeout(now)
        self._questions.handle_timeout(now)
        self._subscriptions.handle_timeout(now)
        self._show_state()

    # Requests of the program.

    def subscribe(self, wish: Wish) -> int:
        """A subscription's number. Raises ``Closed``."""
        self.check_is_open()
        number = self._number()
        self._subscriptions.add(number, wish)
        return number

    def done(self, number: int, message: Message, cumulative: bool, now: float) -> None:
        """A reader is done with a message. Raises ``ValueError`` for a subscription without a window."""
        told = self._subscriptions.done(number, message, cumulative)
        if told is not None:
            self._questions.add(self._number(), told, now, repeats=Repeats.SAME_CONNECTION)

    def give_token(self, wanted: SubscriptionTokenWanted, token: str | None) -> None:
        """The token for a subscription; without one it ends."""
        self._subscriptions.handle_token_for(wanted.subscription, wanted.turn, token)

    def give_no_token(self, wanted: SubscriptionTokenWanted, now: float) -> None:
        """The token could not be fetched; it is wanted again later."""
        self._subscriptions.handle_no_token_for(wanted.subscription, wanted.turn, now)

    def unsubscribe(self, number: int) -> None:
        """The reader of a subscription is gone."""
        self._subscriptions.remove(number)

    def ignore(self, number: int) -> None:
        """Nobody reads a subscription that the server has made; it is kept."""
        self._subscriptions.ignore(number)

    def following(self, number: int) -> Following | None:
        """The state of a subscription, until its reader is gone."""
        return self._subscriptions.get(number)

    def take(self, number: int, now: float) -> Event | None:
        """The next event of a subscription; the previous one counts as handled."""
        return self._subscriptions.take(number, now)

    def publish(
        self,
        channel: str,
        data: Data,
        *,
        key: str | None,
        tags: dict[str, str] | None,
        is_queued: bool,
        is_ordered: bool,
        now: float,
    ) -> int:
        """A publication's number. Raises ``Closed``, ``Unavailable``, or an error for data that is not JSON."""
        self.check_is_open()
        fields: dict[str, Any] = {"channel": channel, **encode(data)}
        if key is None and is_queued:
            # A publication that may be sent again must have a key.
            key = f"{self._rng.getrandbits(128):032x}"
        if key is not None:
            fields["key"] = key
        if tags:
            fields["tags"] = tags
        body = write(fields)[1:]
        size = len(body) if body.isascii() else len(body.encode())
        request = self._number()
        entry = Entry(request, channel, body, size, is_ordered and is_queued, is_queued)
        self._outbox.add(entry, now)
        return request

    def ask(
        self,
        message: dict[str, Any],
        now: float,
        *,
        repeats: Repeats = Repeats.ALWAYS,
        within: float | None = None,
    ) -> int:
        """A question's number. Raises ``Closed`` or ``Unavailable``."""
        self.check_is_open()
        # Invalid requests must fail here, and not when they are sent.
        write(message)
        request = self._number()
        self._questions.add(request, message, now, repeats=repeats, within=within)
        return request

    def refresh(self, token: str, now: float) -> int:
        """The number of the question with which the server gets a newer token."""
        return self.ask({"type": "refresh", "token": token}, now, repeats=Repeats.SAME_CONNECTION)

    def set_info(self, info: Any, now: float) -> int:
        """Replaces the info of this session; returns the number of the question. The next connection has
        the same info.
        """
        request = self.ask({"type": "presence_update", "info": info}, now)
        self._info = info
        return request

    def cancel(self, request: int) -> None:
        """The answer to this publication or request is no longer needed."""
        self._outbox.cancel(request)
        self._questions.cancel(request)

    def hurry(self, now: float) -> None:
        """Ends a wait; checks that an open connection is alive."""
        if self._link.is_open:
            self._heartbeat.handle_doubt(now)
            self._owes_ping = True
        self._link.hurry(now)
        self._show_state()

    def close(self) -> None:
        """Closes permanently: the session ends."""
        self._close_with(None)

    # Work for the driver.

    def poll_action(self) -> Open | Close | None:
        """A connection to open or to close."""
        return self._link.poll_action()

    def poll_transmit(self, connection: int, now: float) -> str | None:
        """The next text to send on this connection, which has room for it."""
        if connection != self._link.connection or not self._link.is_open:
            return None
        if self._connecting is not None:
            return self._connect(self._connecting, now)
        number = self._next_id
        message = self._poll_message(number, now)
        if message is not None:
            # Each of several channels is answered separately.
            self._next_id += max(1, len(message.get("channels", ())))
            return write({"type": message["type"], "id": number, **message})
        text = self._outbox.poll_transmit(number, now)
        if text is not None:
            self._next_id += 1
        return text

    def poll_notice(self) -> Notice | None:
        """The next notice for the program."""
        if self._notices:
            return self._notices.popleft()
        made = self._subscriptions.poll_made()
        if made is not None:
            return SubscriptionMade(*made)
        while (wanted := self._subscriptions.poll_token_wanted()) is not None:
            channel = self._subscriptions.channel_of(wanted[0])
            if channel is not None:
                return SubscriptionTokenWanted(wanted[0], channel, wanted[1])
        published = self._outbox.poll_outcome()
        if published is not None:
            return Outcome(*published)
        answered = self._questions.poll_outcome()
        if answered is not None:
            return Outcome(*answered)
        number = self._subscriptions.poll_changed()
        return None if number is None else Ready(number)

    def poll_timeout(self) -> float | None:
        """When to call ``handle_timeout``."""
        parts = (self._link, self._heartbeat, self._outbox, self._questions, self._subscriptions)
        times = [part.poll_timeout() for part in parts]
        return min((t for t in [*times, self._come_back_at] if t is not None), default=None)

    def wants_input(self) -> bool:
        """False while the connection should not be read because a reader is behind: this creates backpressure."""
        return self._subscriptions.wants_input()

    @property
    def unanswered(self) -> int:
        """Publications without an answer."""
        return len(self._outbox)

    # The conversation.

    def _connect(self, connecting: _Connecting, now: float) -> str | None:
        if connecting.id is not None:
            return None
        connecting.id = self._next_id
        self._next_id += 1
        self._pinged = (connecting.id, now)
        message: dict[str, Any] = {"type": "connect", "id": connecting.id, "lineage": True}
        if self._token is not None:
            message["token"] = self._token
        if self._info is not None:
            message["info"] = self._info
        if connecting.resume is not None:
            message["resume"] = connecting.resume
            message |= self._subscriptions.positions()
        return write(message)

    def _poll_message(self, number: int, now: float) -> dict[str, Any] | None:
        if self._owes_ping:
            self._owes_ping = False
            self._pinged = (number, now)
            return {"type": "ping"}
        return self._subscriptions.poll_message(number) or self._questions.poll_message(number)

    def _take(self, message: ServerMessage, size: int, now: float) -> None:
        match message:
            case Welcome():
                self._welcomed(message, now)
            case Token(resume):
                self._resume = resume or None
                self._subscriptions.handle_token()
            case Restored():
                self._subscriptions.handle_restored()
            case SubscribedTo():
                self._subscriptions.handle_subscribed(message, size, now)
            case UnsubscribedFrom():
                self._subscriptions.handle_unsubscribed(message, now)
            case Answer(number, result):
                self._answered(number, result, now)
            case GoAway(after):
                self._come_back_at = now + after
            case Told() | Expiring():
                self._tell(message)
            case Closing(reason):
                self._closing = reason
            case _:
                self._delivered(message, size, now)

    def _tell(self, message: Told | Expiring) -> None:
        if isinstance(message, Told):
            self._notices.append(message)
        elif self._renews_token:
            self._notices.append(TokenWanted())

    def _delivered(self, delivered: Delivered, size: int, now: float) -> None:
        self._subscriptions.handle_event(delivered, size, now)
        while (told := self._subscriptions.poll_done()) is not None:
            self._questions.add(self._number(), told, now, repeats=Repeats.SAME_CONNECTION)

    def _welcomed(self, welcome: Welcome, now: float) -> None:
        if self._connecting is None or welcome.id is None or welcome.id != self._connecting.id:
            return
        resumed = self._connecting.resume is not None
        self._connecting = None
        self._is_welcome = True
        self._ponged(welcome.id, now)
        self.session, self.user = welcome.session, welcome.user
        self._subscriptions.handle_opened(resumed, now)
        # Empty: this session is too large for a token, and is restored from its positions.
        self._resume = welcome.resume or None
        self._questions.handle_opened()
        self._outbox.handle_opened()
        self._change_state(State("open", resumed=resumed))

    def _answered(self, number: int | None, result: Result, now: float) -> None:
        if number is None:
            if isinstance(result, Failure):
                self._notices.append(Warned(result.error))
            return
        if isinstance(result, Pong):
            self._ponged(number, now)
            return
        if self._connecting is not None:
            if isinstance(result, Failure) and number == self._connecting.id:
                self._not_welcome(result.error, self._connecting, now)
            return
        if isinstance(result, Failure):
            refused = self._outbox.handle_answer(number, result.error, now)
            if not refused and not self._questions.handle_answer(number, result, now):
                self._subscriptions.handle_refused(number, result.error, now)
        elif isinstance(result, Published):
            self._outbox.handle_answer(number, result, now)
        else:
            self._questions.handle_answer(number, result, now)

    def _not_welcome(self, error: OffhookError, connecting: _Connecting, now: float) -> None:
        if error.code == "bad_token" and connecting.resume is not None:
            self._resume = None
            self._connecting = _Connecting(None, None)
            # The repeated request gets its own answer.
            self._heartbeat.start(now)
        elif error.retry == "never":
            self._close_with(error)
        else:
            self._abandon(error.code, Verdict(at_least=error.retry_after or 0.0), now)

    def _ponged(self, number: int, now: float) -> None:
        if self._pinged is None or self._pinged[0] != number:
            return
        self.latency = now - self._pinged[1]
        self._pinged = None
        self._notices.append(Latency(self.latency))

    # The end of a connection.

    def _verdict(self, end: End, now: float) -> Verdict:
        if end.is_final:
            return Verdict()
        # RFC 6455 §7.4.1: 1009, a message too large. Sent again, it would end the next connection, too.
        too_large = refusal("too_large", "the message is larger than the server accepts", "never", None)
        dropped = end.code == 1009 and self._outbox.drop_largest(too_large)
        if self._come_back_at is not None:
            return Verdict(comes_back=True, after=max(0.0, self._come_back_at - now))
        if end.code == 4003:
            # The token has expired, and with it what resumes the session.
            self._resume = None
        is_renewed = end.code == 4003 and self._renews_token
        if self._closing == "too_slow" or dropped or is_renewed:
            return Verdict(comes_back=True)
        if self._closing == "flood":
            return Verdict(comes_back=True, at_least=AFTER_FLOOD)
        return Verdict()

    def _abandon(self, reason: str, verdict: Verdict, now: float) -> None:
        if self._link.state.name not in ("open", "connecting"):
            return
        self._reset()
        self._link.abandon(reason, verdict, now)
        self._settle_state()

    def _reset(self) -> None:
        self._is_welcome = self._owes_ping = False
        self._connecting = self._pinged = self._come_back_at = self._closing = None
        self._heartbeat.stop()
        self._outbox.handle_lost()
        self._questions.handle_lost()
        self._subscriptions.handle_lost()

    def _close_with(self, error: OffhookError | None) -> None:
        if self._link.is_closed:
            return
        self._reset()
        self._link.stop(1000, "", error)
        self._settle_state()

    def _settle_state(self) -> None:
        """Handles the end of a connection: permanent, or temporary."""
        if self._link.is_closed:
            error = self._link.state.error
            reason = error or Closed("closed", "the client was closed; make a new one")
            self._outbox.close(reason)
            self._questions.close(reason)
            self._subscriptions.close(error)
        self._show_state()

    def _show_state(self) -> None:
        # A connection counts as open once the server has accepted it.
        if self._link.state is not self.state and not self._link.is_open:
            self._change_state(self._link.state)

    def _change_state(self, state: State) -> None:
        self.state = state
        self._notices.append(state)

    def check_is_open(self) -> None:
        """Raises the reason if this client is closed."""
        if self._link.is_closed:
            raise self._link.state.error or Closed("closed", "the client was closed; make a new one")

    def _number(self) -> int:
        return next(self._numbers)
