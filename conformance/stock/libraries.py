"""Libraries with both roles: node's `ws`, python's `websockets` and
`aiohttp`.
"""

from __future__ import annotations

from pathlib import Path

import installation
from programs import Ours, run_checks, started
from report import Report

PEERS = Path(__file__).resolve().parent / "peers"


def ws(ours: Ours, report: Report) -> None:
    node, env = installation.node()
    play(ours, report, [node, str(PEERS / "ws_client.js")], [node, str(PEERS / "ws_server.js")], env)


def websockets(ours: Ours, report: Report) -> None:
    in_python(ours, report, "websockets")


def aiohttp(ours: Ours, report: Report) -> None:
    in_python(ours, report, "aiohttp")


def in_python(ours: Ours, report: Report, name: str) -> None:
    python = installation.python()
    play(ours, report, *([python, str(PEERS / f"{name}_{role}.py")] for role in ("client", "server")))


def play(
    ours: Ours,
    report: Report,
    client: list[str],
    server: list[str],
    env: dict[str, str] | None = None,
) -> None:
    with ours.echo_server() as address:
        run_checks(report, "client", [*client, f"ws://{address}/"], env)
    cert, key = ours.certificate()
    with ours.echo_server("--cert", cert, "--key", key) as address:
        run_checks(report, "client, TLS", [*client, f"wss://{address}/", cert], env)
    with started(server, env) as peer:
        url = f"ws://127.0.0.1:{peer.line('listening on ')}/"
        checks = [ours.example("echo_check"), url, "--deflate", "--told-to-close"]
        run_checks(report, "server", checks)
        said = peer.line("closed ")
        report.check("server: saw our close with 3000", said == "3000 done", said)
