"""Chromium: a real page, its origin, and WebSockets over HTTP/2 as opened by a
browser.
"""

from __future__ import annotations

import installation
from libraries import PEERS
from programs import Ours, run_checks
from report import Report


def play(ours: Ours, report: Report) -> None:
    node, env = installation.node()
    chromium = installation.program("chromium", "chromium")
    profile = str(ours.scratch / "profile")
    cert, key = ours.certificate()
    with (
        ours.echo_server() as echo,
        ours.echo_server("--same-origin") as same_origin,
        ours.echo_server("--cert", cert, "--key", key) as tls,
    ):
        urls = [f"ws://{echo}/", f"ws://{same_origin}/", f"wss://{tls}/"]
        run_checks(report, "page", [node, str(PEERS / "chromium.js"), chromium, profile, *urls], env)
