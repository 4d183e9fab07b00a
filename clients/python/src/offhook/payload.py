"""Data is any JSON value, or bytes, which are sent as base64."""

from __future__ import annotations

import base64
import json
from typing import Any

from .events import Data


def encode(data: Data) -> dict[str, Any]:
    """The field of a ``publish`` that carries the data."""
    if isinstance(data, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(data).decode("ascii")}
    return {"data": data}


def decode(fields: dict[str, Any]) -> Any:
    """The data of a message. Raises ``ValueError`` if it is neither JSON nor base64."""
    text = fields.get("base64")
    if text is None:
        if "data" not in fields:
            raise ValueError("it has neither data nor base64")
        return fields["data"]
    if not isinstance(text, str):
        raise ValueError("base64 is not a text")
    return base64.b64decode(text, validate=True)


def write(message: object) -> str:
    """JSON on one line. Raises ``TypeError`` or ``ValueError`` for invalid values: NaN, sets, lone surrogates."""
    try:
        text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise ValueError("data is nested too deep; the protocol's limit is 64") from None
    if not text.isascii():
        # A lone surrogate is valid in a Python string but not in UTF-8.
        text.encode()
    return text
