"""Programs started for the checks: Offhook's own, and others that print where
they listen.
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from installation import ROOT, program
from report import Report

EXAMPLES = ["echo_server", "echo_client", "echo_check", "keepalive_probe"]
# A program that prints nothing for so many seconds has failed; no check waits
# for this time to pass.
PATIENCE = 60
# The limit for the check that a longer message is refused; all other messages
# are at most 1 MiB.
MAX_MESSAGE = 2 << 20


class Broken(Exception):
    """A program failed in a way that makes all further checks impossible."""


class Program:
    """A program that runs until it is stopped, and the lines it prints."""

    def __init__(self, command: list[str], env: dict[str, str] | None = None) -> None:
        self.name = " ".join(map(os.path.basename, command))
        self.process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self, mark: str = "") -> str:
        """The text after the mark in the next line that contains it."""
        seen = []
        while True:
            try:
                line = self.lines.get(timeout=PATIENCE)
            except queue.Empty:
                line = None
            if line is None:
                last = " | ".join(seen[-3:])
                raise Broken(f"{self.name} ended, or did not say `{mark}` in {PATIENCE} s: {last}")
            if mark in line:
                return line[line.index(mark) + len(mark) :]
            seen.append(line)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def started(command: list[str], env: dict[str, str] | None = None) -> Iterator[Program]:
    running = Program(command, env)
    try:
        yield running
    finally:
        running.stop()


def run_checks(report: Report, role: str, command: list[str], env: dict[str, str] | None = None) -> None:
    """Runs a program that prints `ok WHAT` for each check, and reports them."""
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as slow:
        report.failed(f"{role}: not done after {PATIENCE} s: {(slow.stdout or b'')[-300:]!r}")
        return
    passed = [line[3:] for line in done.stdout.splitlines() if line.startswith("ok ")]
    for what in passed:
        report.ok(f"{role}: {what}")
    if done.returncode != 0 or not passed:
        output = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
        said = [line.removeprefix("failed ") for line in output if not line.startswith("ok ")]
        report.failed(f"{role}: {' | '.join(said[-4:])}")


def free_port() -> int:
    """A free port that the system gives to no connection by itself: it is also
    free when a server that was killed comes back, whose clients try all the
    time to connect to it.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class Ours:
    """Offhook's examples and a certificate for 127.0.0.1."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder
        self.scratch = scratch

    @classmethod
    def build(cls, scratch: Path) -> Ours:
        command = ["cargo", "build", "--quiet", "--package", "offhook", "--features", "http2"]
        if os.environ.get("CI") == "true":
            command.append("--locked")
        for example in EXAMPLES:
            command += ["--example", example]
        try:
            subprocess.run(command, cwd=ROOT, check=True)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            raise Broken(f"the examples were not built: {error}") from None
        target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
        return cls(ROOT / target / "debug" / "examples", scratch)

    def example(self, name: str) -> str:
        return str(self.folder / name)

    @contextlib.contextmanager
    def echo_server(self, *options: str) -> Iterator[str]:
        """Runs our echo server; yields its address."""
        command = [self.example("echo_server"), "127.0.0.1:0", "--max-message", str(MAX_MESSAGE), *options]
        with started(command) as server:
            yield server.line("listening on ")

    def certificate(self) -> tuple[str, str]:
        """The paths of a self-signed certificate for 127.0.0.1 and of its
        key.
        """
        cert, key = self.scratch / "cert.pem", self.scratch / "key.pem"
        if not cert.exists():
            openssl = program("openssl", "openssl")
            make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=stock"
            # An end entity: rustls refuses a certificate that is also an
            # authority's.
            extensions = ["subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:FALSE"]
            words = [word for extension in extensions for word in ("-addext", extension)]
            command = [openssl, *make.split(), *words, "-out", str(cert), "-keyout", str(key)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Broken(f"no certificate: {done.stderr.strip()}")
        return str(cert), str(key)
