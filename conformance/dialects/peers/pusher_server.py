"""The server library `pusher`, unmodified, with a client over websocket-client: pusher_server.py PORT ID KEY SECRET.

Prints a line for each check.
"""

from __future__ import annotations

import json
import sys

import pusher
import websocket

port, app_id, key, secret = sys.argv[1:]


def ok(what: str) -> None:
    print(f"ok {what}", flush=True)


def server(secret: str = secret, app: str = app_id) -> pusher.Pusher:
    return pusher.Pusher(app_id=app, key=key, secret=secret, host="127.0.0.1", port=int(port), ssl=False)


class Client:
    """A connection, and the backend that signs for it."""

    def __init__(self) -> None:
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}/app/{key}?protocol=7", timeout=60)
        established = self.hear("pusher:connection_established")
        self.socket_id = json.loads(established["data"])["socket_id"]

    def send(self, event: str, data: dict[str, str]) -> None:
        self.socket.send(json.dumps({"event": event, "data": data}))

    def hear(self, event: str) -> dict[str, str]:
        while True:
            heard = json.loads(self.socket.recv())
            if heard["event"] == event:
                return heard

    def subscribe(self, channel: str, member: dict[str, object] | None = None) -> dict[str, str]:
        signed = {}
        if channel.startswith(("private-", "presence-")):
            signed = server().authenticate(channel=channel, socket_id=self.socket_id, custom_data=member)
        self.send("pusher:subscribe", {"channel": channel, **signed})
        return self.hear("pusher_internal:subscription_succeeded")


def main() -> None:
    client = Client()
    client.subscribe("my-channel")
    server().trigger("my-channel", "greeting", {"text": "Grüße"})
    assert json.loads(client.hear("greeting")["data"]) == {"text": "Grüße"}
    ok("pusher for Python: trigger")

    server().trigger("my-channel", "skipped", {}, client.socket_id)
    server().trigger_batch([{"channel": "my-channel", "name": "batched", "data": "1"}])
    heard = json.loads(client.socket.recv())
    assert heard["event"] == "batched", heard
    ok("pusher for Python: the socket_id is left out, and a batch")

    client.subscribe("private-chat", None)
    client.subscribe("presence-room", {"user_id": "ann", "user_info": {"name": "ann"}})
    ok("pusher for Python: signs for private and presence channels")

    assert server().users_info("presence-room") == {"users": [{"id": "ann"}]}
    assert server().channel_info("presence-room", ["user_count"]) == {"occupied": True, "user_count": 1}
    listed = server().channels_info("presence-", ["user_count"])
    assert listed == {"channels": {"presence-room": {"user_count": 1}}}, listed
    ok("pusher for Python: channels and users")

    signed = server().authenticate_user(client.socket_id, {"id": "ann"})
    client.send("pusher:signin", signed)
    client.hear("pusher:signin_success")
    client.subscribe("#server-to-user-ann")
    server().send_to_user("ann", "note", {"n": 1})
    assert json.loads(client.hear("note")["data"]) == {"n": 1}
    ok("pusher for Python: authenticates a user and sends to it")

    # Its terminate_user_connections sends no app in the path (3.3.4), so that no server can tell which one it is.
    for wrong, refused in ((server(secret="another-secret"), pusher.errors.PusherBadAuth), (server(app="2"), pusher.errors.PusherBadStatus)):
        try:
            wrong.trigger("my-channel", "forged", {})
        except refused:
            continue
        raise AssertionError("a forged request was accepted")
    ok("pusher for Python: a forged signature is refused")
    print("done", flush=True)


main()
