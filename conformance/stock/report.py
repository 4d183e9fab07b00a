"""Prints the result of each check, and a summary."""

from __future__ import annotations

import os
import sys
import time


class Report:
    def __init__(self) -> None:
        self.peer = ""
        self.passed = 0
        self.failures = 0
        self.absent: list[str] = []
        self.begun = time.monotonic()
        colors = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.green, self.red, self.yellow, self.plain = (
            ("\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m") if colors else ("", "", "", "")
        )

    def ok(self, what: str) -> None:
        self.passed += 1
        self.line(self.green, "ok", what)

    def failed(self, what: str) -> None:
        self.failures += 1
        self.line(self.red, "failed", what)

    def check(self, what: str, holds: bool, seen: object) -> None:
        if holds:
            self.ok(what)
        else:
            self.failed(f"{what}: {seen}")

    def not_run(self, why: str, failure: bool) -> None:
        self.absent.append(self.peer)
        self.failures += failure
        self.line(self.red if failure else self.yellow, "not run", why)

    def line(self, color: str, verdict: str, what: str) -> None:
        print(f"{color}{verdict:<8}{self.plain}{self.peer}: {what}", flush=True)

    def verdict(self) -> int:
        absent = f", not run: {', '.join(self.absent)}" if self.absent else ""
        seconds = time.monotonic() - self.begun
        print(f"{self.passed} passed, {self.failures} failed{absent}, in {seconds:.0f} s")
        return 1 if self.failures else 0
