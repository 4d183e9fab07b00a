"""Detects dead connections: one whose network is gone is as silent as an idle one."""

from __future__ import annotations

from typing import Literal

from ..settings import Heartbeat as Settings

SLEPT = 3.0
"""A timeout handled this much too late was delayed by sleep: nothing could have been received in the meantime."""


class Heartbeat:
    """Decides when to ping the server, and when it is dead."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._due: float | None = None
        self._heard = 0.0
        self._is_awaiting = False

    def start(self, now: float) -> None:
        """A connection is open, and its first message was sent: an answer is due."""
        self._heard = now
        self._expect(now + self._settings.within)

    def stop(self) -> None:
        """There is no connection."""
        self._due = None

    def handle_heard(self, now: float) -> None:
        """Anything was received."""
        self._heard = now
        self._is_awaiting = False

    def handle_doubt(self, now: float) -> None:
        """The connection may be dead: ping immediately."""
        self._expect(now + self._settings.within_after_sleep)

    def poll_timeout(self) -> float | None:
        """When to call ``handle_timeout``."""
        return self._due

    def handle_timeout(self, now: float) -> Literal["ask", "dead"] | None:
        """The action that is due now."""
        if self._due is None or now < self._due:
            return None
        if now - self._due > SLEPT:
            self.handle_doubt(now)
            return "ask"
        if self._is_awaiting:
            self._due = None
            return "dead"
        if now - self._heard >= self._settings.every:
            self._expect(now + self._settings.within)
            return "ask"
        self._due = self._heard + self._settings.every
        return None

    def _expect(self, due: float) -> None:
        self._is_awaiting = True
        self._due = due
