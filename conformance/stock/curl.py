"""curl: the answers to plain HTTP requests, and the fields of the answer to the
handshake.
"""

from __future__ import annotations

import subprocess

import installation
from programs import Ours
from report import Report

# RFC 6455 §1.3: the key of its example and the matching accept value.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def play(ours: Ours, report: Report) -> None:
    curl = installation.program("curl", "curl")
    with ours.echo_server("--same-origin") as address:
        url = f"http://{address}/"
        status, fields = ask(curl, url)
        refused = status == 426 and fields.get("upgrade", "").lower() == "websocket"
        report.check("a plain GET is told to upgrade", refused, (status, fields))

        status, fields = ask(curl, url, **HANDSHAKE)
        opened = status == 101 and fields.get("sec-websocket-accept") == ACCEPT
        report.check("an upgrade is answered as in RFC 6455 §1.3", opened, (status, fields))

        status, fields = ask(curl, url, **{**HANDSHAKE, "Sec-WebSocket-Version": "12"})
        refused = status == 426 and fields.get("sec-websocket-version") == "13"
        report.check("version 12 is refused, and 13 is named", refused, (status, fields))

        status, fields = ask(curl, url, **{**HANDSHAKE, "Sec-WebSocket-Key": "short"})
        report.check("an invalid key is refused", status == 400, (status, fields))

        status, fields = ask(curl, url, **HANDSHAKE, Origin="https://elsewhere.example")
        report.check("a foreign origin is refused", status == 403, (status, fields))

        if "ws" in protocols(curl):
            status, fields = ask(curl, f"ws://{address}/")
            report.check("ws:// is opened", status == 101, (status, fields))

    cert, key = ours.certificate()
    with ours.echo_server("--cert", cert, "--key", key) as address:
        for version in ("--http1.1", "--http2"):
            status, fields = ask(curl, f"https://{address}/", "--cacert", cert, version)
            report.check(f"{version} with TLS: a plain GET is refused", 400 <= status < 500, (status, fields))


def ask(curl: str, url: str, *options: str, **fields: str) -> tuple[int, dict[str, str]]:
    """The status and the fields of the answer. A WebSocket is abandoned one
    second after it opened.
    """
    command = [curl, "--silent", "--include", "--noproxy", "*", "--max-time", "1", *options]
    for name, value in fields.items():
        command += ["--header", f"{name}: {value}"]
    done = subprocess.run([*command, url], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    head = done.stdout.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    words = head[0].split(" ")
    if len(words) < 2:
        return 0, {"curl": f"exit status {done.returncode}"}
    pairs = (line.split(":", 1) for line in head[1:])
    return int(words[1]), {pair[0].lower(): pair[-1].strip() for pair in pairs}


def protocols(curl: str) -> list[str]:
    version = subprocess.run([curl, "--version"], capture_output=True, text=True, check=False).stdout
    lines = [line for line in version.splitlines() if line.startswith("Protocols:")]
    return lines[0].split()[1:] if lines else []
