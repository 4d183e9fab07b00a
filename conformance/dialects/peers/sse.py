"""httpx-sse, unmodified, and curl: sse.py ORIGIN. Prints a line for each check."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback

import httpx
from httpx_sse import connect_sse

ORIGIN = sys.argv[1]


def ok(what: str) -> None:
    print(f"ok {what}", flush=True)


def httpx_sse() -> None:
    with httpx.Client(base_url=ORIGIN, timeout=60, trust_env=False) as client:
        with connect_sse(client, "GET", "/sse", params={"channel": "room", "since": "start"}) as source:
            events = source.iter_sse()
            subscribed = next(events)
            assert subscribed.event == "subscribed" and subscribed.id, subscribed
            assert subscribed.retry, subscribed
            first = next(events)
            assert first.event == "message", first
            assert first.json()["data"] == {"text": "Grüße"}, first
            last = first.id
        ok("httpx-sse: reads from the start")
        with connect_sse(client, "GET", "/sse", params={"channel": "room"}, headers={"Last-Event-ID": last}) as source:
            events = source.iter_sse()
            assert next(events).event == "subscribed"
            second = next(events)
            assert second.json()["offset"] == 2, second
        ok("httpx-sse: continues after the last event id")
        at = client.get("/poll", params={"channel": "room", "since": "start"}).json()
        assert [p["offset"] for p in at["publications"]] == [1, 2], at
        since = f"{at['epoch']}:{at['offset']}"
        again = client.get("/poll", params={"channel": "room", "since": since, "wait": 1}).json()
        assert again == {**at, "publications": []}, again
        ok("httpx: polls as documented")


def curl() -> None:
    command = ["curl", "--no-buffer", "--silent", "--show-error", f"{ORIGIN}/sse?channel=room&since=start"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        lines = iter(running.stdout)
        seen = [next(line for line in lines if line.startswith("data: ")) for _ in range(3)]
        running.terminate()
    assert json.loads(seen[0].removeprefix("data: "))["type"] == "subscribed", seen
    assert json.loads(seen[2].removeprefix("data: "))["data"] == 3, seen
    ok("curl -N: prints events as they arrive")


try:
    httpx_sse()
    curl()
    print("done", flush=True)
except Exception:
    print(f"failed {traceback.format_exc()!r}", flush=True)
    sys.exit(1)
