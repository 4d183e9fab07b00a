"""The client without I/O: ``handle_*`` in, ``poll_*`` out, the time and randomness as arguments."""

from .core import Core
from .link import Close, End, Open

__all__ = ["Core", "Close", "End", "Open"]
