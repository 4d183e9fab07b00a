"""The events of subscriptions, and the results of other calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, Union

from .errors import OffhookError

# Sequence and Mapping would let bytes and odd keys in; a dict or list of these is what json writes.
Json: TypeAlias = Union[str, int, float, bool, "list[Any]", "tuple[Any, ...]", "dict[str, Any]", None]
"""Any JSON value."""

Data: TypeAlias = Json | bytes | bytearray | memoryview
"""The data of a publication; bytes are sent in base64."""


@dataclass(frozen=True, slots=True)
class Last:
    """Start with the newest ``count`` retained messages."""

    count: int


Since: TypeAlias = str | Last
"""Where a subscription or a history begins: ``"now"``, ``"start"``, ``Last(50)`` or a position.

A subscription to a channel that keeps state may begin at ``"state"``: with the newest message of each value of the tag
``key``.
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """All channels that match: ``+`` matches one part between slashes, ``#`` at the end all further parts."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Message:
    """A publication in a channel."""

    channel: str
    position: str
    data: Any
    """JSON as it was published, or ``bytes``."""
    time: int
    """Milliseconds since 1970 on the server's clock."""
    user: str | None = None
    """The publisher; missing for anonymous clients and for the server itself."""
    session: str | None = None
    key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    previous: str = ""
    """The position of the message before it in the channel."""
    at: str | None = None
    """For a filter: the position of the subscription after this message."""
    is_state: bool = False
    """A value of the channel's state rather than a message of its stream."""
    redelivered: int = 0
    """In acknowledged flow: how often it was delivered before."""

    @property
    def place(self) -> str:
        """Where the subscription is after this message: ``at`` for a filter, else ``position``."""
        return self.at or self.position


@dataclass(frozen=True, slots=True)
class Own:
    """With ``echo=False``: this session's own message, without its data."""

    channel: str
    position: str
    previous: str
    at: str | None = None
    """For a filter: where the subscription is after it."""

    @property
    def place(self) -> str:
        """Where the subscription is after this message: ``at`` for a filter, else ``position``."""
        return self.at or self.position


@dataclass(frozen=True, slots=True)
class Gap:
    """The messages after ``from_``, up to and including ``to``, are missing.

    ``reason`` is the protocol's, or ``unannounced``: a hole that the server did not announce. With ``diverged``,
    messages after ``agreed`` that were received before are no longer part of the stream. With ``restarted``, which only
    a filter has, channels without history may have lost messages while the server was restarted; all others follow.
    With ``permissions``, which only a filter has, too, messages are missing that the session was not allowed to read.
    """

    channel: str
    from_: str
    to: str
    reason: str
    agreed: str | None = None
    is_partial: bool = False
    """Of one of a filter's channels. Other gaps of a filter have the filter as ``channel``, and its positions."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A connection serves the subscription. ``live``: nothing is missing. ``resumed``: with the session it had.

    ``channel`` is the filter for a filter, here and in ``Live``, ``CatchingUp`` and ``Ended``.
    """

    channel: str
    position: str
    live: bool
    resumed: bool


@dataclass(frozen=True, slots=True)
class Live:
    """Everything that was missing has been delivered."""

    channel: str
    position: str


@dataclass(frozen=True, slots=True)
class CatchingUp:
    """This connection reads too slowly, and receives what it missed from the channel's history."""

    channel: str
    position: str


@dataclass(frozen=True, slots=True)
class Member:
    """A session that is present in a channel."""

    session: str
    user: str | None = None
    info: Any = None


@dataclass(frozen=True, slots=True)
class Join:
    """A member joined, or a present one replaced its ``info``."""

    channel: str
    member: Member


@dataclass(frozen=True, slots=True)
class Leave:
    """A member left."""

    channel: str
    member: Member


@dataclass(frozen=True, slots=True)
class Members:
    """Sent unasked after joins and leaves were dropped: it replaces the list of members."""

    channel: str
    members: tuple[Member, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The subscription ended; with an ``error`` the server ended it. To callbacks only: a loop ends, or raises."""

    channel: str
    error: OffhookError | None = None


Event: TypeAlias = Subscribed | Message | Own | Live | CatchingUp | Gap | Join | Leave | Members
"""What iterating over a subscription yields."""


@dataclass(frozen=True, slots=True)
class Published:
    """The server has it. ``duplicate``: the key had been published before, at this position."""

    position: str
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """Messages read once, of a channel's stream or of its state.

    ``gap``: why messages before the first of them are missing. ``head``: the newest there is. ``more``: there are more:
    older messages, when read backwards, or further values of the state.
    """

    messages: tuple[Message, ...]
    head: str
    gap: str | None = None
    more: bool = False


@dataclass(frozen=True, slots=True)
class Presence:
    """Some of a channel's ``total`` members."""

    members: tuple[Member, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Receipts:
    """How many ``subscribers`` have received everything up to a position; ``sessions`` names some of them."""

    received: int
    subscribers: int
    sessions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """The state of the connection. ``closed`` is permanent, with an ``error`` unless it was caused by ``close()`` or
    the server's 1000.
    """

    name: Literal["connecting", "open", "waiting", "closed"]
    attempt: int = 0
    retry_in: float | None = None
    """While ``waiting``: seconds until the next attempt, as of this change."""
    resumed: bool = False
    """When ``open``: with the session of the connection before."""
    error: OffhookError | None = None
    """Why the connection was lost, or why the client is closed."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds there and back, as of the last ping."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """Data that the server's backend sends to this session alone, outside of any channel. It is not stored."""

    data: Any


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that spoils nothing, such as a message that can't be read."""

    error: OffhookError
