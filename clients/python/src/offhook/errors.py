"""Errors, classified by what a program can do about them."""

from __future__ import annotations

from typing import Any, Literal

Retry = Literal["never", "later", "reconnect"]


class OffhookError(Exception):
    """The base of all errors of this package.

    ``code`` is the protocol's (docs/protocol.md, "error") or one of the client's own. ``retry`` says whether the same
    call can succeed: ``never``, ``later`` (after ``retry_after`` seconds, or a delay of your own), or ``reconnect``.
    ``backend`` is the error of the server's backend, if it is the one that refused: a dictionary with ``code``,
    ``message`` and, if there is any, ``data``.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry: Retry = "never",
        retry_after: float | None = None,
        backend: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry: Retry = retry
        self.retry_after = retry_after
        self.backend = backend


class Refused(OffhookError):
    """The server refused. Change the request, or the server's configuration."""


class Unavailable(OffhookError):
    """Not now: ``offline``, ``queue_full``, or the server's ``busy`` and the like. Try again later."""


class TimedOut(Unavailable, TimeoutError):
    """No answer in time. It may have happened nevertheless: publish again with the same key."""


class Closed(OffhookError):
    """The client is closed permanently: by ``close()``, or by an end that rules out reconnecting. Make a new client."""


class BadMessage(OffhookError):
    """The server sent an invalid message. It is reported as a warning; the connection stays open."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_message", message)


def refusal(
    code: str, message: str, retry: Retry, retry_after: float | None, backend: dict[str, Any] | None = None
) -> OffhookError:
    """The error for a refusal of the server."""
    kind = Refused if retry == "never" else Unavailable
    if code == "timed_out":
        kind = TimedOut
    return kind(code, message, retry=retry, retry_after=retry_after, backend=backend)
