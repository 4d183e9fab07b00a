"""The server's messages, parsed and checked. The protocol is docs/protocol.md.

A server may be newer, defective or hostile: every message becomes one of the types below, ``None`` for an unknown type,
or a ``BadMessage``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, cast

from . import position as positions
from .errors import BadMessage, OffhookError, Retry, refusal
from .events import (
    CatchingUp,
    Gap,
    History,
    Join,
    Leave,
    Live,
    Member,
    Members,
    Message,
    Own,
    Presence,
    Published,
    Receipts,
    Told,
)
from .payload import decode

_LARGEST = 2**53 - 1

Key: TypeAlias = int | str
"""Names a subscription among those of its session: its number, or else its channel."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to ``connect``."""

    id: int | None
    session: str
    user: str | None
    resume: str


@dataclass(frozen=True, slots=True)
class Token:
    """The newest resume token."""

    resume: str


@dataclass(frozen=True, slots=True)
class Restored:
    """Every subscription that the resume token restores has been announced."""


@dataclass(frozen=True, slots=True)
class SubscribedTo:
    """The answer to ``subscribe``; without an ``id`` a subscription that the resume token restored, or that the server
    has made.
    """

    id: int | None
    key: Key
    name: str
    position: str
    live: bool
    is_made: bool = False


@dataclass(frozen=True, slots=True)
class UnsubscribedFrom:
    """The answer to ``unsubscribe``; without an ``id``, the server ended the subscription, with the reason."""

    id: int | None
    key: Key
    error: OffhookError


@dataclass(frozen=True, slots=True)
class Acked:
    """What the server remembers of a consumer."""

    position: str | None


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to ``ping``."""


@dataclass(frozen=True, slots=True)
class Called:
    """What the backend answered."""

    data: Any


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a ``done``, a ``presence_update`` or a ``refresh``."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An ``error``."""

    error: OffhookError


Result: TypeAlias = Published | History | Presence | Receipts | Acked | Called | Accepted | Pong | Failure


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the message with this ``id``; without an ``id``, to one that could not be parsed."""

    id: int | None
    result: Result


@dataclass(frozen=True, slots=True)
class Expiring:
    """The session's token expires soon."""


@dataclass(frozen=True, slots=True)
class GoAway:
    """Open a new connection after this pause, in seconds."""

    after: float


@dataclass(frozen=True, slots=True)
class Closing:
    """Why the server closes this connection."""

    reason: str


ChannelEvent: TypeAlias = Message | Own | Gap | Live | CatchingUp | Join | Leave | Members


@dataclass(frozen=True, slots=True)
class Delivered:
    """An event of a subscription."""

    key: Key
    event: ChannelEvent


ServerMessage: TypeAlias = (
    Welcome
    | Token
    | Expiring
    | Restored
    | SubscribedTo
    | UnsubscribedFrom
    | Answer
    | GoAway
    | Closing
    | Told
    | Delivered
)


def parse(text: str | bytes) -> ServerMessage | None:
    """One message. ``None`` for a type that this client doesn't know; raises ``BadMessage``."""
    if not isinstance(text, str):
        raise BadMessage("a binary message; the protocol uses only text")
    try:
        fields = json.loads(text, parse_constant=_no_constant)
    # RecursionError: nested deeper than the interpreter follows.
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadMessage("not a JSON object")
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise BadMessage("it has no type")
    read = _READERS.get(kind)
    if read is None:
        return None
    try:
        return read(fields)
    except (ValueError, TypeError) as error:
        raise BadMessage(f"{kind}: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return value


def _optional_text(fields: dict[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _text(fields, name)


def _number(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise ValueError(f"{name} is not a number from 0 to 2^53 - 1")
    return value


def _id(fields: dict[str, Any]) -> int | None:
    return None if fields.get("id") is None else _number(fields, "id")


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is not true or false")
    return value


def _position(fields: dict[str, Any], name: str = "position") -> str:
    value = _text(fields, name)
    positions.parse(value)
    return value


def _optional_position(fields: dict[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _position(fields, name)


def _subscription(fields: dict[str, Any]) -> int | None:
    return None if fields.get("subscription") is None else _number(fields, "subscription")


def _name(fields: dict[str, Any]) -> str:
    """The subject of a message: a channel, or the filter of a subscription."""
    return _text(fields, "filter" if fields.get("channel") is None else "channel")


def _key(fields: dict[str, Any]) -> Key:
    number = _subscription(fields)
    return _text(fields, "channel") if number is None else number


def _items(fields: dict[str, Any], name: str) -> list[Any]:
    value = fields.get(name, [])
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")
    return value


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")
    return value


def _tags(fields: dict[str, Any]) -> dict[str, str]:
    tags = _object(fields.get("tags") or {}, "tags")
    if not all(isinstance(value, str) for value in tags.values()):
        raise ValueError("tags are not texts")
    return tags


def _publication(fields: dict[str, Any], channel: str) -> Message:
    position = _position(fields)
    return Message(
        channel=channel,
        position=position,
        data=decode(fields),
        time=_number(fields, "time"),
        user=_optional_text(fields, "user"),
        session=_optional_text(fields, "session"),
        key=_optional_text(fields, "key"),
        tags=_tags(fields),
        # Left out when it is the one before in the same epoch.
        previous=_optional_position(fields, "previous") or positions.before(position),
        at=_optional_position(fields, "at"),
        is_state=_flag(fields, "state"),
        redelivered=0 if fields.get("redelivered") is None else _number(fields, "redelivered"),
    )


def _message(fields: dict[str, Any]) -> Message:
    return _publication(fields, _text(fields, "channel"))


def _own(fields: dict[str, Any]) -> Own:
    position = _position(fields)
    previous = _optional_position(fields, "previous") or positions.before(position)
    return Own(_text(fields, "channel"), position, previous, _optional_position(fields, "at"))


def _error(fields: dict[str, Any]) -> OffhookError:
    retry = fields.get("retry", "never")
    after = fields.get("retry_after_ms")
    return refusal(
        _text(fields, "code"),
        _text(fields, "message"),
        # An unknown value, from a newer server, promises nothing.
        cast(Retry, retry) if retry in ("never", "later", "reconnect") else "never",
        None if after is None else _number(fields, "retry_after_ms") / 1000,
        None if fields.get("backend") is None else _object(fields["backend"], "backend"),
    )


def _member(value: Any) -> Member:
    fields = _object(value, "a member")
    return Member(_text(fields, "session"), _optional_text(fields, "user"), fields.get("info"))


def _member_list(fields: dict[str, Any]) -> tuple[Member, ...]:
    return tuple(_member(item) for item in _items(fields, "members"))


def _welcome(fields: dict[str, Any]) -> Welcome:
    resume = _optional_text(fields, "resume") or ""
    return Welcome(_id(fields), _text(fields, "session"), _optional_text(fields, "user"), resume)


def _subscribed(fields: dict[str, Any]) -> SubscribedTo:
    is_made = fields.get("by") == "server"
    return SubscribedTo(_id(fields), _key(fields), _name(fields), _position(fields), _flag(fields, "live"), is_made)


def _unsubscribed(fields: dict[str, Any]) -> UnsubscribedFrom:
    number = _id(fields)
    answered = number is not None
    error = refusal("unsubscribed", "", "never", None) if answered else _error(fields)
    return UnsubscribedFrom(number, _key(fields), error)


def _gap(fields: dict[str, Any]) -> Gap:
    return Gap(
        _name(fields),
        _position(fields, "from"),
        _position(fields, "to"),
        _text(fields, "reason"),
        _optional_position(fields, "agreed"),
        is_partial=fields.get("filter") is not None and fields.get("channel") is not None,
    )


def _history(fields: dict[str, Any]) -> Answer:
    channel = _text(fields, "channel")
    items = _items(fields, "messages")
    messages = tuple(_publication(_object(item, "a message"), channel) for item in items)
    head = _position(fields, "head")
    return Answer(_id(fields), History(messages, head, _optional_text(fields, "gap"), _flag(fields, "more")))


def _members(fields: dict[str, Any]) -> Answer | Delivered:
    members, total = _member_list(fields), _number(fields, "total")
    if _id(fields) is None:
        return Delivered(_key(fields), Members(_text(fields, "channel"), members, total))
    return Answer(_id(fields), Presence(members, total))


def _received(fields: dict[str, Any]) -> Answer:
    sessions = _items(fields, "sessions")
    if not all(isinstance(session, str) for session in sessions):
        raise ValueError("sessions are not texts")
    counts = _number(fields, "received"), _number(fields, "subscribers")
    return Answer(_id(fields), Receipts(*counts, tuple(sessions)))


def _published(fields: dict[str, Any]) -> Answer:
    return Answer(_id(fields), Published(_position(fields), _flag(fields, "duplicate")))


def _event(read: Callable[[dict[str, Any]], ChannelEvent]) -> Callable[[dict[str, Any]], Delivered]:
    return lambda fields: Delivered(_key(fields), read(fields))


_READERS: dict[str, Callable[[dict[str, Any]], ServerMessage]] = {
    "welcome": _welcome,
    "token": lambda fields: Token(_text(fields, "resume")),
    "restored": lambda _: Restored(),
    "subscribed": _subscribed,
    "unsubscribed": _unsubscribed,
    "message": _event(_message),
    "own": _event(_own),
    "gap": _event(_gap),
    "live": _event(lambda fields: Live(_name(fields), _position(fields))),
    "catching_up": _event(lambda fields: CatchingUp(_name(fields), _position(fields))),
    "join": _event(lambda fields: Join(_text(fields, "channel"), _member(fields))),
    "leave": _event(lambda fields: Leave(_text(fields, "channel"), _member(fields))),
    "members": _members,
    "published": _published,
    "history": _history,
    "state": _history,
    "called": lambda fields: Answer(_id(fields), Called(decode(fields))),
    "done": lambda fields: Answer(_id(fields), Accepted()),
    "refreshed": lambda fields: Answer(_id(fields), Accepted()),
    "expiring": lambda _: Expiring(),
    "presence_updated": lambda fields: Answer(_id(fields), Accepted()),
    "received": _received,
    "acked": lambda fields: Answer(_id(fields), Acked(_optional_position(fields, "position"))),
    "pong": lambda fields: Answer(_id(fields), Pong()),
    "error": lambda fields: Answer(_id(fields), Failure(_error(fields))),
    "reconnect": lambda fields: GoAway(_number(fields, "after_ms") / 1000),
    "told": lambda fields: Told(decode(fields)),
    "closing": lambda fields: Closing(_text(fields, "reason")),
}
