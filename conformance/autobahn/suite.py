"""Runs the suite's cases against a server, a client, or both at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

AGENT = "offhook"
LOOPBACK = "127.0.0.1"
# A thousand compressed messages of 128 KiB: 17 seconds on a busy machine with a slow peer.
LONGEST_CASE = 120
LONGEST_START = 20
# The seconds between two lines of output without a terminal.
SECONDS_A_LINE = 10


class Stuck(Exception):
    """A program did not do in time what was expected."""


@dataclass
class Outcome:
    """The suite's report: the cases that it should have run, and the outcome of
    each.
    """

    expected: int
    cases: dict[str, dict]
    folder: Path


class Suite:
    def __init__(
        self, wstest: Path, reports: Path, cases: list[str], excluded: list[str], cwd: Path
    ) -> None:
        self.wstest = wstest
        self.reports = reports
        self.selection = {"cases": cases, "exclude-cases": excluded}
        self.cwd = cwd
        self.progress = Progress()
        self.processes: list[Process] = []

    async def __aenter__(self) -> Suite:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes:
            await stop(process)
        self.progress.end()

    async def against_server(self, command: list[str], role: str = "server") -> None:
        """The suite is the client; `command` is given an address and prints
        where it listens.
        """
        async with self.listening(command) as address:
            await self.connect(role, address)

    async def against_http2(
        self, command: list[str], bridge: list[str], role: str = "http2"
    ) -> None:
        """As `server`, through a bridge, which is also given the server's
        address.
        """
        async with self.listening(command) as server, self.listening(bridge, server) as address:
            await self.connect(role, address)

    async def connect(self, role: str, address: str) -> None:
        servers = [{"agent": AGENT, "url": f"ws://{address}"}]
        fuzzing = await self.start_suite(role, "fuzzingclient", {"servers": servers})
        await self.follow(role, fuzzing)

    @contextlib.asynccontextmanager
    async def listening(self, command: list[str], *behind: str) -> AsyncIterator[str]:
        """Runs a program that prints where it listens; it must not end before
        it is stopped.
        """
        program = await self.start([*command, f"{LOOPBACK}:0", *behind], stdout=PIPE)
        line = await patiently(program.stdout.readline(), LONGEST_START, "the server's first line")
        listening = re.search(r"listening on (\S+)", line.decode(errors="replace"))
        if not listening:
            raise Stuck(f"the server should print `listening on ADDRESS`, not {line!r}")
        ignored = asyncio.create_task(program.stdout.read())
        yield listening[1]
        if program.returncode is not None:
            raise Stuck(f"the server ended with status {program.returncode} while it was tested")
        ignored.cancel()

    async def against_client(self, command: list[str]) -> None:
        """The suite is the server; `command` is given its URL and a name for the reports."""
        url = f"ws://{LOOPBACK}:{free_port()}"
        fuzzing = await self.start_suite("client", "fuzzingserver", {"url": url})
        following = asyncio.create_task(self.follow("client", fuzzing))
        try:
            await patiently(self.listens(url), LONGEST_START, "the suite to listen")
            client = await self.start([*command, url, AGENT])
            await asyncio.wait(
                {following, waiting := asyncio.create_task(client.wait())},
                return_when=asyncio.FIRST_COMPLETED,
            )
            if following.done():
                waiting.cancel()
                following.result()
                raise Stuck("the suite ended before the client did")
            if client.returncode != 0:
                raise Stuck(f"the client ended with status {client.returncode}")
        finally:
            following.cancel()
            await stop(fuzzing)

    async def listens(self, url: str) -> None:
        """The suite does not print when it is ready, so connect until it
        answers.
        """
        port = int(url.rpartition(":")[2])
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.close()
                return
            await asyncio.sleep(0.05)

    async def start_suite(self, role: str, mode: str, spec: dict) -> Process:
        folder = self.reports / role
        folder.mkdir(parents=True)
        path = folder / "spec.json"
        path.write_text(json.dumps({"outdir": str(folder), **self.selection, **spec}, indent=2))
        # -u: unbuffered, because its output is the progress. --webport 0:
        # without its web server.
        python = str(self.wstest.with_name("python"))
        command = [python, "-u", str(self.wstest), "--webport", "0", "-m", mode, "-s", str(path)]
        return await self.start(command, stdout=PIPE, stderr=STDOUT)

    async def follow(self, role: str, fuzzing: Process) -> None:
        """Shows the current case until the suite ends, and gives up on a case
        that never ends.
        """
        case = "the first case"
        with (self.reports / role / "suite.log").open("wb", buffering=0) as log:
            while line := await patiently(fuzzing.stdout.readline(), LONGEST_CASE, f"{role} {case}"):
                log.write(line)
                text = line.decode(errors="replace")
                if found := re.search(r"Ok, will run (\d+) test cases", text):
                    self.progress.expect(role, int(found[1]))
                elif found := re.search(r"Running test case ID (\S+)", text):
                    case = found[1]
                    self.progress.show(role, case)
        if await fuzzing.wait() != 0:
            raise Stuck(f"the suite ended with status {fuzzing.returncode}; see {log.name}")

    async def start(self, command: list[str], **streams: int) -> Process:
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, cwd=self.cwd, start_new_session=True, **streams
            )
        except OSError as error:
            raise Stuck(f"`{' '.join(command)}`: {error.strerror}") from error
        self.processes.append(process)
        return process

    def outcome(self, role: str) -> Outcome:
        folder = self.reports / role
        index = folder / "index.json"
        if not index.is_file():
            raise Stuck(f"the suite wrote no report of the {role}; see {folder / 'suite.log'}")
        cases = json.loads(index.read_text()).get(AGENT, {})
        return Outcome(self.progress.expected.get(role, 0), cases, folder)


class Progress:
    """One line that is redrawn on a terminal; without a terminal, a line from
    time to time.
    """

    def __init__(self) -> None:
        self.expected: dict[str, int] = {}
        self.ran: dict[str, int] = {}
        self.now: dict[str, str] = {}
        self.is_terminal = sys.stdout.isatty()
        self.printed = time.monotonic()

    def expect(self, role: str, cases: int) -> None:
        self.expected[role] = cases

    def show(self, role: str, case: str) -> None:
        self.ran[role] = self.ran.get(role, 0) + 1
        self.now[role] = f"{role} {self.ran[role]}/{self.expected.get(role, 0)} ({case})"
        line = "   ".join(self.now.values())
        if self.is_terminal:
            print(f"\r\033[K{line}", end="", flush=True)
        elif time.monotonic() - self.printed >= SECONDS_A_LINE:
            self.printed = time.monotonic()
            print(line, flush=True)

    def end(self) -> None:
        if self.is_terminal:
            print("\r\033[K", end="", flush=True)


async def patiently(awaited: object, seconds: float, what: str) -> object:
    try:
        return await asyncio.wait_for(awaited, seconds)
    except asyncio.TimeoutError:
        raise Stuck(f"waited {seconds} s in vain for {what}") from None


async def stop(process: Process) -> None:
    """Ends a process and those that it started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return listener.getsockname()[1]
