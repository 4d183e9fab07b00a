"""Positions: where in a channel's stream, as ``epoch.offset``."""

from __future__ import annotations

import re
from typing import Literal

# Both numbers are below 2^53, so they have at most 16 digits; longer ones are invalid.
_POSITION = re.compile(r"(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})")

Step = Literal["next", "repeated", "hole"]


def parse(position: str) -> tuple[int, int]:
    """Epoch and offset of a position."""
    match = _POSITION.fullmatch(position)
    if match is None:
        raise ValueError(f"not a position: {position[:40]!r}; expected epoch.offset, such as 17.42")
    return int(match[1]), int(match[2])


def before(position: str) -> str:
    """The position before this one in the same epoch, which a message follows unless it says otherwise."""
    epoch, offset = parse(position)
    return f"{epoch}.{max(0, offset - 1)}"


def is_before(position: str, other: str) -> bool:
    """Whether a position is earlier than another, according to the offsets, which ascend over the life of a stream."""
    return parse(position)[1] < parse(other)[1]


def step(received: str | None, previous: str, position: str) -> Step:
    """How a message at ``position``, which follows ``previous``, relates to the last one received."""
    # Nothing lies between an offset and the one before it, whatever the publication before was called: after a gap that
    # leads into a new epoch the message still names one of the old epoch.
    if received is None or received in (previous, before(position)):
        return "next"
    had_epoch, had_offset = parse(received)
    epoch, offset = parse(position)
    if epoch == had_epoch and offset <= had_offset:
        return "repeated"
    # Offset 0 is before the first message of a stream, in whichever epoch.
    if had_offset == 0 and parse(previous)[1] == 0:
        return "next"
    return "hole"
