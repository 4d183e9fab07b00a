"""Every limit and timeout, each with its default and the reason for it. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


class _Positive:
    """Checks that every number in a group of settings is valid."""

    def __post_init__(self) -> None:
        for setting in fields(self):  # type: ignore[arg-type]
            value = getattr(self, setting.name)
            if isinstance(value, int | float) and not value > 0:
                name = f"{type(self).__name__}.{setting.name}"
                raise ValueError(f"{name} is {value}; it must be greater than 0")


@dataclass(frozen=True, slots=True)
class Backoff(_Positive):
    """The wait before an attempt is random below a bound that doubles ("full jitter")."""

    first: float = 0.5
    """The limit of the first wait. 0.5 s: after a restart of the server, people wait a quarter of a second on
    average.
    """
    cap: float = 10.0
    """The limit doubles up to this. 10 s: after an outage all clients are back within that time; a server that needs
    longer says so.
    """
    stable: float = 5.0
    """A connection that was open this long resets the bound. 5 s: one that is lost at once does not."""


@dataclass(frozen=True, slots=True)
class Heartbeat(_Positive):
    """An idle connection is checked with pings."""

    every: float = 25.0
    """Ping after this much silence. 25 s: below the 30 s after which the strictest gateways drop a connection."""
    within: float = 10.0
    """Without an answer for this long, the connection is dead. 10 s: longer than a phone's radio needs to wake up."""
    within_after_sleep: float = 4.0
    """The same after the machine slept, or when ``reconnect()`` asks."""


@dataclass(frozen=True, slots=True)
class Outbox(_Positive):
    """Limits of unanswered publications."""

    count: int = 1_000
    """The number of publications. 1,000: what a script produces during a restart of the server."""
    size: int = 1 << 20
    """Their bytes of JSON. 1 MiB: little for a process, and a few seconds of a slow network."""
    in_flight: int = 32
    """Publications in flight, in all channels. 32: fills a connection of 100 ms if the server commits every few ms."""
    give_up_after: float = 50 * 60.0
    """A publication unanswered for this long is given up. 50 min: servers forget keys after an hour."""


@dataclass(frozen=True, slots=True)
class Inbox(_Positive):
    """Limits of queued events of one subscription."""

    count: int = 1_000
    """The number of events. 1,000: a reader that was busy for a moment catches up with them at once."""
    size: int = 4 << 20
    """Their characters of JSON. 4 MiB: a few dozen of the largest messages."""
    patience: float = 1.0
    """While an inbox is full the connection is not read, for at most this long. 1 s: then the subscription pauses, and
    continues from the channel's history, so that one slow reader does not delay the others.
    """


@dataclass(frozen=True, slots=True)
class Settings(_Positive):
    """All settings of a client."""

    backoff: Backoff = field(default_factory=Backoff)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    outbox: Outbox = field(default_factory=Outbox)
    inbox: Inbox = field(default_factory=Inbox)
    open_within: float = 10.0
    """The time limit for opening a connection. 10 s: two or three round trips, even on a very slow network."""
    answer_within: float = 20.0
    """A request is given up after this. 20 s: the server's own limit of 10 s, and a reconnect."""
    max_size: int = 16 << 20
    """The largest message accepted from the server in bytes. 16 MiB: more than a page of history ever has."""
