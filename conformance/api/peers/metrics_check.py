"""Uses a server, and checks its metrics, read with prometheus_client's parser of OpenMetrics."""

import contextlib
import json
import sys
import time
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from websockets.sync.client import connect

SERVER, ADMIN, KEY = sys.argv[1:]
SUBSCRIBERS, PUBLICATIONS = 5, 20


def check(what: str, holds: bool, seen: object) -> None:
    print(f"ok {what}" if holds else f"not so: {what}: {seen}", flush=True)


def read() -> tuple[dict, str]:
    with urllib.request.urlopen(ADMIN, timeout=30) as answer:
        kind, text = answer.headers["Content-Type"], answer.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return families, kind


def value(families: dict, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return found[0] if found else 0.0


def grown(before: dict, after: dict, name: str, **labels: str) -> float:
    return value(after, name, **labels) - value(before, name, **labels)


def publish(number: int) -> None:
    body = json.dumps({"channel": "room/1", "data": number}).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{SERVER}/api/v1/publish", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def hear(socket, kind: str) -> dict:
    while (message := json.loads(socket.recv(timeout=30)))["type"] != kind:
        pass
    return message


families, kind = read()
check("the media type is that of OpenMetrics 1.0", kind.startswith("application/openmetrics-text; version=1.0.0"), kind)
check("the parser reads the page", "offhook_connections" in families, sorted(families))
wrong = [name for name, family in families.items() if family.unit and not name.endswith(family.unit)]
check("names end with their units", not wrong, wrong)

url = SERVER.replace("http", "ws") + "/ws"
with contextlib.ExitStack() as opened:
    sockets = [opened.enter_context(connect(url, subprotocols=["offhook.v1.json"], proxy=None)) for _ in range(SUBSCRIBERS)]
    for socket in sockets:
        socket.send(json.dumps({"id": 1, "type": "connect"}))
        hear(socket, "welcome")
        socket.send(json.dumps({"id": 2, "type": "subscribe", "channel": "room/1"}))
        hear(socket, "subscribed")
    for number in range(PUBLICATIONS):
        publish(number)
    for socket in sockets:
        for _ in range(PUBLICATIONS):
            hear(socket, "message")

    # A worker counts after it has written, so the metrics may be updated a moment after the message has arrived.
    end = time.monotonic() + 30
    while grown(families, after := read()[0], "offhook_publish_to_write_seconds_count") < PUBLICATIONS and time.monotonic() < end:
        pass
    connections = grown(families, after, "offhook_connections")
    check("as many connections as were opened", connections == SUBSCRIBERS, connections)
    published = grown(families, after, "offhook_published_total")
    check("as many publications as were made", published == PUBLICATIONS, published)
    deliveries = grown(families, after, "offhook_deliveries_total")
    check("as many deliveries as arrived", deliveries == SUBSCRIBERS * PUBLICATIONS, deliveries)
    answers = grown(families, after, "offhook_http_answers_total", to="api", status="2xx")
    check("as many answers of the API as were read", answers == PUBLICATIONS, answers)
    written = grown(families, after, "offhook_publish_to_write_seconds_count")
    check("the time from each publication to its subscribers is measured", written >= PUBLICATIONS, written)

end = time.monotonic() + 30
while (closed := value(read()[0], "offhook_websockets_closed_total", code="1000")) < SUBSCRIBERS and time.monotonic() < end:
    pass
check("each closed connection is counted by its code", closed == SUBSCRIBERS, closed)
print("done", flush=True)
