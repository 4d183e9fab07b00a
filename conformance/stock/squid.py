"""Squid between our client and our server: tunnels by HTTP CONNECT, with a
password.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import installation
from programs import PATIENCE, Broken, Ours, free_port, run_checks, started
from report import Report

USER, PASSWORD = "ada", "a secret:of hers"
URL_PASSWORD = "a%20secret%3Aof%20hers"
HELPER = "/usr/lib/squid/basic_ncsa_auth"
CONFIGURATION = """
http_port 127.0.0.1:{port}
visible_hostname localhost
auth_param basic program {helper} {folder}/passwords
acl known proxy_auth REQUIRED
http_access deny !known
http_access allow CONNECT
http_access deny all
cache deny all
access_log stdio:{folder}/access.log
cache_log /dev/null
coredump_dir none
pid_filename none
pinger_enable off
shutdown_lifetime 0 seconds
"""


def play(ours: Ours, report: Report) -> None:
    squid = installation.program("squid", "squid")
    if not os.access(HELPER, os.X_OK):
        raise installation.Absent(f"Squid is installed, but not its {HELPER}")
    cert, key = ours.certificate()
    check = ours.example("echo_check")
    folder = ours.scratch / "squid"
    with between(squid, folder) as port, ours.echo_server() as plain:
        env = through(f"{USER}:{URL_PASSWORD}@127.0.0.1:{port}")
        run_checks(report, "CONNECT with a password", [check, f"ws://{plain}/", "--deflate"], env)
        with ours.echo_server("--cert", cert, "--key", key) as tls:
            client = [check, f"wss://{tls}/", "--ca", cert, "--deflate"]
            run_checks(report, "CONNECT with a password, TLS", client, env)
        for what, user in {"without a password": "", "with a wrong password": f"{USER}:wrong@"}.items():
            said = refused([check, f"ws://{plain}/"], through(f"{user}127.0.0.1:{port}"))
            report.check(f"CONNECT {what}: refused, and the error says so", "HttpAuthentication" in said, said)
    # An entry is written when a tunnel ends, and the rest when Squid ends.
    log = (folder / "access.log").read_text().splitlines()
    # Fields: time, duration, client, result, bytes, method, address.
    tunnels = {words[6] for words in map(str.split, log) if (words[3], words[5]) == ("TCP_TUNNEL/200", "CONNECT")}
    report.check("the tunnels went through it", tunnels == {plain, tls}, log)


def through(proxy: str) -> dict[str, str]:
    """An environment in which every connection uses a proxy, including those to
    loopback.
    """
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, "ALL_PROXY": f"http://{proxy}"}


def refused(command: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stderr.strip() if done.returncode else f"it was not refused: {done.stdout.strip()}"


@contextlib.contextmanager
def between(squid: str, folder: Path) -> Iterator[int]:
    """Runs Squid; yields its port."""
    folder.mkdir()
    # Started by root, it continues as its own user, which needs access to these
    # files.
    folder.parent.chmod(0o711)
    folder.chmod(0o777)
    (folder / "passwords").write_text(f"{USER}:{hashed(PASSWORD)}\n")
    port = free_port()
    configuration = folder / "squid.conf"
    configuration.write_text(CONFIGURATION.format(port=port, helper=HELPER, folder=folder))
    # -N: no second process. -d 1: log to the output.
    with started([squid, "-N", "-d", "1", "-f", str(configuration)]) as running:
        # It prints this slightly before it accepts connections.
        running.line("Accepting HTTP Socket connections")
        answers(port)
        yield port


def answers(port: int) -> None:
    """Connects until something listens."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise Broken(f"nobody listens on port {port} after {PATIENCE} s")


def hashed(password: str) -> str:
    openssl = installation.program("openssl", "openssl")
    command = [openssl, "passwd", "-apr1", "-stdin"]
    done = subprocess.run(command, input=password, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Broken(f"no hash of a password: {done.stderr.strip()}")
    return done.stdout.strip()
