"""A network that drops everything silently: two namespaces and a firewall."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator

import installation
from installation import Absent
from programs import Broken, Ours, started
from report import Report

HERE, THERE = "10.213.0.1", "10.213.0.2"
INTERVAL_MS, PONG_TIMEOUT_MS = 500, 1000
# The time that keepalive promises, plus what a busy machine may add. TCP alone gives up after
# 15 minutes or more.
DEADLINE = (INTERVAL_MS + PONG_TIMEOUT_MS) / 1000
LATE = 5.0
DROP = "table inet blackhole { chain in { type filter hook input priority 0; policy drop; }; \
chain out { type filter hook output priority 0; policy drop; }; }"


def play(ours: Ours, report: Report) -> None:
    if os.geteuid() != 0:
        raise Absent("network namespaces need root", excusable=True)
    ip = installation.program("ip", "iproute2")
    probe = ours.example("keepalive_probe")
    times = ["--interval", str(INTERVAL_MS), "--pong-timeout", str(PONG_TIMEOUT_MS)]
    with two_hosts(ip) as (here, there):
        nft = installation.program("nft", "nftables")
        in_there, in_here = ([ip, "netns", "exec", host] for host in (there, here))
        with started([*in_there, probe, "listen", f"{THERE}:9001", *times]) as server:
            server.line("listening on ")
            with started([*in_here, probe, "connect", f"ws://{THERE}:9001/", *times]) as client:
                client.line("open")
                server.line("open")
                call([*in_there, nft, DROP])
                begun = time.monotonic()
                for name, end in (("our client", client), ("our server", server)):
                    said = end.line()
                    took = time.monotonic() - begun
                    in_time = said.startswith("pong timeout") and took < DEADLINE + LATE
                    seen = f"{said}, {took:.1f} s after the cut"
                    report.check(f"{name} notices in {took:.1f} s, {DEADLINE} s promised", in_time, seen)


@contextlib.contextmanager
def two_hosts(ip: str) -> Iterator[tuple[str, str]]:
    """Two namespaces connected by one link, with the addresses HERE and THERE."""
    here, there = (f"offhook-{os.getpid()}-{end}" for end in ("a", "b"))
    with contextlib.ExitStack() as made:
        for host in (here, there):
            if subprocess.run([ip, "netns", "add", host], capture_output=True, check=False).returncode:
                raise Absent("network namespaces are not allowed here", excusable=True)
            # The link disappears with its ends.
            made.callback(subprocess.run, [ip, "netns", "del", host], check=False)
        call([ip, "-n", here, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", there])
        for host, address in ((here, HERE), (there, THERE)):
            call([ip, "-n", host, "address", "add", f"{address}/24", "dev", "wire"])
            call([ip, "-n", host, "link", "set", "wire", "up"])
        yield here, there


def call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Broken(f"`{' '.join(command)}`: {done.stderr.strip()}")
