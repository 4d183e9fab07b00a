"""A backend for Offhook with Python's own HTTP server and PyJWT: login, token, publish, webhook, call.

    pip install PyJWT==2.15.1
    OFFHOOK_URL=http://127.0.0.1:8000 OFFHOOK_API_KEY=ohk_... TOKEN_SECRET=... WEBHOOK_SECRET=... \
        python3 backend.py 3000
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

OFFHOOK_URL = os.environ["OFFHOOK_URL"]
API_KEY = os.environ["OFFHOOK_API_KEY"]
TOKEN_SECRET = os.environ["TOKEN_SECRET"]
WEBHOOK_SECRET = os.environ["WEBHOOK_SECRET"].encode()

# Events received from the server. A real backend would store them in its database.
events: list[dict] = []


def log_in(form: dict) -> dict:
    """A real backend checks a password here."""
    claims = {"sub": form["name"], "exp": int(time.time()) + 600, "grants": {"room/*": "subscribe"}}
    return {"token": jwt.encode(claims, TOKEN_SECRET, algorithm="HS256")}


def publish(message: dict) -> dict:
    """Publishes with the HTTP API. A key in the message makes it safe to repeat the request."""
    request = urllib.request.Request(
        f"{OFFHOOK_URL}/api/v1/publish",
        json.dumps(message).encode(),
        {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def is_signed(headers, body: bytes) -> bool:
    """Whether the request was signed with our secret within the last five minutes."""
    name, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > 300:
        return False
    signed = f"{name}.{stamp}.".encode() + body
    mine = "v1," + base64.b64encode(hmac.digest(WEBHOOK_SECRET, signed, hashlib.sha256)).decode()
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(mine, one) for one in given)


def no(code: str, message: str) -> dict:
    return {"error": {"code": code, "message": message}}


def answer(asked: dict) -> dict:
    """Answers a question, a call, or a batch of events."""
    match asked["type"]:
        case "publish" if "rude" in str(asked.get("data")):
            return no("rude", "Be polite.")
        case "publish":
            return {"allow": True, "tags": {"checked": "yes"}}
        case "call" if asked["method"] == "add":
            return {"data": sum(asked["data"])}
        case "call":
            return no("no_method", f"there is no method {asked['method']}")
        case "events":
            events.extend(asked["events"])
            return {}
        case _:
            return {"allow": False}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply(200, events)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/offhook":
            if not is_signed(self.headers, body):
                return self.reply(401, {"error": "the signature is missing or wrong"})
            return self.reply(200, answer(json.loads(body)))
        action = {"/login": log_in, "/publish": publish}[self.path]
        self.reply(200, action(json.loads(body)))

    def reply(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
