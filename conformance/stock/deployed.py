"""nginx and HAProxy in front of `offhook serve`, with the files of deploy/: only ports, paths and
times are replaced.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import installation
from installation import ROOT
from programs import Broken, Ours, free_port, started
from report import Report

DEPLOY = ROOT / "deploy"
# The interval of the server's pings and the proxies' idle timeout, instead of 30 s and 120 s.
PING = 1
IDLE = 3


class Client:
    """A WebSocket over TLS that shows its frames."""

    def __init__(self, port: int, cert: str, fields: str = "") -> None:
        context = ssl.create_default_context(cafile=cert)
        plain = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: offhook.v1.json\r\n{fields}\r\n"
        )
        self.socket.sendall(request.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (byte := self.socket.recv(1)):
                break
            head += byte
        self.status = int(head.split()[1]) if head else 0

    def send(self, opcode: int, payload: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        assert len(payload) < 126
        self.socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if not (more := self.socket.recv(count - len(data))):
                raise Broken("the connection was closed")
            data += more
        return data

    def frame(self) -> tuple[int, bytes]:
        first, second = self.read(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self.read(2))
        return first & 0x0F, self.read(length)

    def message(self) -> dict:
        while True:
            opcode, payload = self.frame()
            if opcode == 0x9:
                self.send(0xA, payload)
            elif opcode == 0x1:
                return json.loads(payload)

    def ask(self, **request: object) -> dict:
        self.send(0x1, json.dumps({"id": 1, **request}).encode())
        while (answer := self.message()).get("id") != 1:
            pass
        return answer

    def answer_pings(self, count: int) -> None:
        """Only answers pings."""
        while count:
            opcode, payload = self.frame()
            if opcode == 0x9:
                self.send(0xA, payload)
                count -= 1
            elif opcode == 0x8:
                raise Broken("the server closed the connection")


def play(ours: Ours, report: Report) -> None:
    command = ["cargo", "build", "--quiet", "--package", "offhook-cli"]
    if os.environ.get("CI") == "true":
        command.append("--locked")
    subprocess.run(command, cwd=ROOT, check=True)
    binary = str(ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "offhook")
    for name, proxy in {"nginx": nginx, "HAProxy": haproxy}.items():
        with proxy(ours, binary) as (port, admin):
            checks(report, name, ours.certificate()[0], port, admin)


@contextlib.contextmanager
def server(binary: str, *flags: str) -> Iterator[tuple[int, str]]:
    """Runs the server; yields its port and its address for operators."""
    port, admin = free_port(), f"127.0.0.1:{free_port()}"
    command = [binary, "serve", "--in-memory", "--listen", str(port), "--admin-listen", admin]
    command += ["--keepalive-interval", f"{PING}s", "--proxies-trusted", "127.0.0.1", *flags]
    with started(command) as running:
        running.line("Ctrl-C stops it.")
        yield port, admin


def replaced(text: str, replacements: dict[str, str]) -> str:
    """Replaces each of these in the text, which must contain all of them."""
    for old, new in replacements.items():
        if old not in text:
            raise Broken(f"the file of deploy/ has no {old!r}")
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def nginx(ours: Ours, binary: str) -> Iterator[tuple[int, str]]:
    program = installation.program("nginx", "nginx-light")
    cert, key = ours.certificate()
    folder = ours.scratch / "deployed-nginx"
    folder.mkdir()
    port = free_port()
    with server(binary) as (behind, admin):
        ours_conf = replaced(
            (DEPLOY / "nginx" / "offhook.conf").read_text(),
            {
                "server 127.0.0.1:8000": f"server 127.0.0.1:{behind}",
                "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
                "/etc/ssl/chat.example.com.pem": cert,
                "/etc/ssl/chat.example.com.key": key,
                "120s": f"{IDLE}s",
            },
        )
        temporary = "".join(
            f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration = folder / "nginx.conf"
        configuration.write_text(
            f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr notice;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{ours_conf}}}\n"
        )
        with started([program, "-p", str(folder), "-c", str(configuration), "-e", "stderr"]) as running:
            running.line("event method")
            yield port, admin


@contextlib.contextmanager
def haproxy(ours: Ours, binary: str) -> Iterator[tuple[int, str]]:
    program = installation.program("haproxy", "haproxy")
    cert, key = (Path(path) for path in ours.certificate())
    folder = ours.scratch / "deployed-haproxy"
    folder.mkdir()
    (folder / "both.pem").write_text(cert.read_text() + key.read_text())
    port = free_port()
    with server(binary, "--proxies-protocol") as (behind, admin):
        text = replaced(
            (DEPLOY / "haproxy" / "haproxy.cfg").read_text(),
            {
                "127.0.0.1:8000 send-proxy-v2": f"127.0.0.1:{behind} send-proxy-v2",
                "bind :443": f"bind 127.0.0.1:{port}",
                "/etc/haproxy/chat.example.com.pem": str(folder / "both.pem"),
                "timeout tunnel 120s": f"timeout tunnel {IDLE}s",
                "maxconn 100000": "maxconn 1000",
                "inter 2s": "inter 200ms",
            },
        )
        configuration = folder / "haproxy.cfg"
        configuration.write_text(text)
        with started([program, "-db", "-f", str(configuration)]):
            until_it_listens(port)
            yield port, admin


def until_it_listens(port: int) -> None:
    for _ in range(100_000):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
            return
    raise Broken(f"nothing listens at {port}")


def checks(report: Report, name: str, cert: str, port: int, admin: str) -> None:
    page = f"Origin: https://127.0.0.1:{port}\r\n"
    client = Client(port, cert, page)
    report.check(f"{name}: a page of the own origin, over TLS on an odd port", client.status == 101, client.status)
    welcome = client.ask(type="connect")
    report.check(f"{name}: the upgraded connection transmits messages", welcome["type"] == "welcome", welcome)
    for origin in (f"http://127.0.0.1:{port}", "https://127.0.0.1", "https://evil.example"):
        other = Client(port, cert, f"Origin: {origin}\r\n").status
        report.check(f"{name}: {origin.replace(str(port), 'PORT')} is another origin", other == 403, other)
    # More pings than fit into the proxy's idle timeout.
    client.answer_pings(IDLE // PING + 3)
    answer = client.ask(type="ping")
    report.check(f"{name}: a connection that only answers pings outlives the idle timeout", answer["type"] == "pong", answer)
    context = ssl.create_default_context(cafile=cert)

    def get(path: str) -> tuple[int, str]:
        url = f"https://127.0.0.1:{port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=30, context=context) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    status, body = get("/readyz")
    report.check(f"{name}: ordinary requests", (status, body) == (200, "ready\n"), (status, body))
    status, _ = get("/metrics")
    report.check(f"{name}: the metrics are not accessible to strangers", status == 404, status)
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    refused = re.search(r'offhook_refused_total\{kind="origin"\} (\d+)', metrics)
    report.check(f"{name}: the refusals are counted", refused is not None and refused[1] == "3", metrics[-500:])
