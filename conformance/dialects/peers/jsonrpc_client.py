"""jsonrpc-requests, unmodified, over HTTP: jsonrpc_client.py URL. Prints a line for each check."""

from __future__ import annotations

import sys

from jsonrpc_requests import ProtocolError, Server


def ok(what: str) -> None:
    print(f"ok {what}", flush=True)


def main() -> None:
    server = Server(sys.argv[1])
    first = server.publish(channel="posted", data={"text": "Grüße"})
    assert first["offset"] == 1, first
    assert server.publish("posted", "by position")["offset"] == 2
    ok("jsonrpc-requests: publishes, by name and by position")
    history = server.history(channel="posted", since="start")
    assert [one["data"] for one in history["publications"]] == [{"text": "Grüße"}, "by position"], history
    assert server.presence(channel="posted") == {"members": [], "total": 0}
    ok("jsonrpc-requests: history and presence")
    try:
        server.subscribe(channel="posted")
    except ProtocolError as error:
        assert "-32000" in str(error), error
        ok("jsonrpc-requests: a subscription is refused")
    print("done", flush=True)


main()
