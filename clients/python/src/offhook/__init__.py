"""Channels over one WebSocket that reconnects by itself, for Offhook's server.

Messages published while you were disconnected are delivered afterwards, your own are sent then, and nothing is
delivered twice.
"""

from .client import Client, connect
from .errors import BadMessage, Closed, OffhookError, Refused, TimedOut, Unavailable
from .events import (
    CatchingUp,
    Data,
    Ended,
    Event,
    Filter,
    Gap,
    History,
    Join,
    Json,
    Last,
    Latency,
    Leave,
    Live,
    Member,
    Members,
    Message,
    Own,
    Presence,
    Published,
    Receipts,
    Since,
    State,
    Subscribed,
    Told,
    Warned,
)
from .settings import Backoff, Heartbeat, Inbox, Outbox, Settings
from .subscription import Made, Subscription

__version__ = "0.1.0"

__all__ = [
    "connect",
    "Client",
    "Subscription",
    "Event",
    "Message",
    "Own",
    "Gap",
    "Subscribed",
    "Live",
    "CatchingUp",
    "Join",
    "Leave",
    "Member",
    "Members",
    "Ended",
    "Last",
    "Filter",
    "Since",
    "Data",
    "Json",
    "Published",
    "History",
    "Presence",
    "Receipts",
    "State",
    "Latency",
    "Told",
    "Made",
    "Warned",
    "OffhookError",
    "Refused",
    "Unavailable",
    "TimedOut",
    "Closed",
    "BadMessage",
    "Settings",
    "Backoff",
    "Heartbeat",
    "Outbox",
    "Inbox",
]
