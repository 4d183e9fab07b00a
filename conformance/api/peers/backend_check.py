"""A user of one of the example backends: logs in to the backend, connects to the server with the token, and checks each
function of the backend."""

import itertools
import json
import sys
import urllib.error
import urllib.request

from websockets.sync.client import connect

NAME, BACKEND, SERVER = sys.argv[1:]
ids = itertools.count(1)


def post(path: str, value: object) -> tuple[int, object]:
    request = urllib.request.Request(BACKEND + path, json.dumps(value).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def told() -> list:
    with urllib.request.urlopen(f"{BACKEND}/events", timeout=30) as answer:
        return json.load(answer)


def check(what: str, holds: bool, seen: object) -> None:
    print(f"ok {NAME}: {what}" if holds else f"{NAME}: failed: {what}: {seen}", flush=True)


class User:
    def __init__(self, socket) -> None:
        self.socket = socket

    def hear(self, wanted) -> dict:
        while not wanted(message := json.loads(self.socket.recv(timeout=30))):
            pass
        return message

    def ask(self, **request) -> dict:
        number = next(ids)
        self.socket.send(json.dumps({"id": number, **request}))
        return self.hear(lambda message: message.get("id") == number)


_, login = post("/login", {"name": "ann"})
with connect(SERVER, subprotocols=["offhook.v1.json"], proxy=None) as socket:
    user = User(socket)
    welcome = user.ask(type="connect", token=login["token"])
    check("its token names the user", welcome.get("user") == "ann", welcome)
    begun = user.ask(type="subscribe", channel="room/1")
    check("its token grants a channel", begun["type"] == "subscribed", begun)
    status, published = post("/publish", {"channel": "room/1", "data": {"text": "from the backend"}})
    message = user.hear(lambda message: message["type"] == "message")
    check("it publishes over the HTTP API", message["data"] == {"text": "from the backend"}, (status, published))
    answer = user.ask(type="publish", channel="room/1", data="hello")
    check("it permits a publication", answer["type"] == "published", answer)
    message = user.hear(lambda message: message["type"] == "message")
    check("it adds a tag to the publication", message.get("tags") == {"checked": "yes"}, message)
    refused = user.ask(type="publish", channel="room/1", data="rude")
    error = {"code": "rude", "message": "Be polite."}
    check("its error is passed on to the client unchanged", refused.get("backend") == error, refused)
    called = user.ask(type="call", method="add", data=[1, 2, 3])
    check("it answers a call", called.get("data") == 6, called)
    unknown = user.ask(type="call", method="subtract", data=[])
    check("it answers a call with an error", unknown.get("backend", {}).get("code") == "no_method", unknown)
    user.ask(type="unsubscribe", channel="room/1")
    # Events arrive in batches, so calls are repeated until the last event has arrived.
    kinds: list = []
    while "vacated" not in kinds:
        user.ask(type="call", method="add", data=[1])
        kinds = [event["type"] for event in told() if event.get("channel") == "room/1"]
    check("it receives events of channels and members", kinds[:2] == ["occupied", "joined"] and "left" in kinds, kinds)
status, _ = post("/offhook", {"type": "call", "method": "add", "data": [1]})
check("it refuses a request without a valid signature", status == 401, status)
print("done", flush=True)
