"""Evaluates the suite's reports, and prints a table with a row for each
section.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from suite import Outcome

SECTIONS = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "limits and performance",
    10: "miscellaneous",
    12: "compression, payloads",
    13: "compression, parameters",
}
ROLES = {
    "server": "server",
    "client": "client",
    "http2": "server by HTTP/2",
    "program_tls": "offhook serve by TLS",
    "program_http2": "offhook serve by HTTP/2",
}


class Malformed(Exception):
    """The list of allowed cases cannot be read."""


@dataclass
class Section:
    """The number of cases of one section by outcome; each case is counted
    once.
    """

    ok: int = 0
    non_strict: int = 0
    informational: int = 0
    failed: int = 0

    def cells(self) -> list[int]:
        return [self.ok + self.non_strict + self.informational + self.failed, *vars(self).values()]


@dataclass
class Verdict:
    role: str
    sections: dict[int, Section] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def passed(self) -> bool:
        return not self.complaints

    def table(self) -> str:
        heads = ["cases", "OK", "non-strict", "informational", "failed"]
        total = [sum(column) for column in zip(*(one.cells() for one in self.sections.values()))]
        rows = [(f"{number:2} {SECTIONS.get(number, '')}", self.sections[number].cells())
                for number in sorted(self.sections)]
        lines = [f"{f'Autobahn, {ROLES[self.role]}':27}" + "".join(f"  {head}" for head in heads)]
        for name, cells in [*rows, ("   all", total or [0] * len(heads))]:
            lines.append(f"{name:27}" + "".join(f"  {n:{len(h)}}" for h, n in zip(heads, cells)))
        return "\n".join([*lines, *self.complaints])


def judge(role: str, outcome: Outcome, allowed: dict[tuple[str, str], str]) -> Verdict:
    verdict = Verdict(role)
    for case in sorted(outcome.cases, key=lambda case: [int(part) for part in case.split(".")]):
        found = outcome.cases[case]
        section = verdict.sections.setdefault(int(case.split(".")[0]), Section())
        how = classify(found, (role, case) in allowed)
        setattr(section, how, getattr(section, how) + 1)
        if how == "failed":
            page = os.path.relpath((outcome.folder / found["reportfile"]).with_suffix(".html"))
            verdict.complaints.append(
                f"{role} {case}: {found['behavior']}, closing {found['behaviorClose']} "
                f"with code {found['remoteCloseCode']}: {page}"
            )
    if len(outcome.cases) != outcome.expected or not outcome.cases:
        verdict.complaints.append(
            f"{role}: {outcome.expected} cases should have run, {len(outcome.cases)} did"
        )
    return verdict


def classify(found: dict, may_be_non_strict: bool) -> str:
    # UNCLEAN, WRONG CODE and anything else that the suite may report about a
    # close is a failure.
    if found["behaviorClose"] not in ("OK", "INFORMATIONAL"):
        return "failed"
    if found["behavior"] == "NON-STRICT" and may_be_non_strict:
        return "non_strict"
    return {"OK": "ok", "INFORMATIONAL": "informational"}.get(found["behavior"], "failed")


def read_allowed(path: Path) -> dict[tuple[str, str], str]:
    """Lines of `ROLE CASE REASON`; `#` starts a comment."""
    allowed = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        role, case, *reason = line.split()
        if role not in ROLES or not reason:
            raise Malformed(f"{path}:{number}: expected `server|client|http2 CASE REASON`, found `{line}`")
        allowed[role, case] = " ".join(reason)
    return allowed
