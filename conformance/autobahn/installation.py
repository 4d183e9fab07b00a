"""Installs the Autobahn test suite, which runs on CPython 2.7 only."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SUITE = "autobahntestsuite==25.10.1"
# The last virtualenv that supports Python 2.7.
VIRTUALENV = "virtualenv==20.15.1"
IS_USABLE = "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))"


class Absent(Exception):
    """There is no Python 2.7 on this machine, which is not a failure."""


class Failed(Exception):
    """The suite could not be installed, although it should be possible on this
    machine.
    """


def ensure(folder: Path) -> Path:
    """The suite's program, installed into `folder` unless it is already
    there.
    """
    wstest = folder / "env" / "bin" / "wstest"
    complete = folder / "complete"
    if complete.is_file() and complete.read_text() == SUITE and wstest.is_file():
        return wstest
    python = find_python()
    print(f"installing {SUITE} into {folder} with {python} (once)", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    install(python, folder)
    complete.write_text(SUITE)
    return wstest


def install(python: Path, folder: Path) -> None:
    bootstrap = folder / "bootstrap"
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    log = folder / "install.log"
    call([*pip, "--target", str(bootstrap), VIRTUALENV], log)
    virtualenv = [str(python), "-m", "virtualenv", str(folder / "env")]
    call(virtualenv, log, {"PYTHONPATH": str(bootstrap)})
    call([str(folder / "env" / "bin" / "pip"), "install", SUITE], log)


def call(command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
    with log.open("a") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    if done.returncode != 0:
        last = "\n".join(log.read_text().splitlines()[-15:])
        raise Failed(f"`{' '.join(command)}` failed; the end of {log}:\n{last}")


def find_python() -> Path:
    named = os.environ.get("PY2")
    if named:
        if not is_usable(named):
            raise Failed(f"PY2={named} is not a CPython 2.7 with pip")
        return Path(shutil.which(named) or named)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    installed = sorted(pyenv.glob("versions/2.7.*/bin/python2.7"))
    for candidate in [*map(str, reversed(installed)), "python2.7", "python2"]:
        if is_usable(candidate):
            return Path(shutil.which(candidate) or candidate)
    if os.environ.get("CI") == "true" and (pyenv.is_dir() or shutil.which("pyenv")):
        raise Failed("no CPython 2.7 here, though pyenv is: `pyenv install 2.7.18`, or set PY2")
    raise Absent("no CPython 2.7 with pip here (`pyenv install 2.7.18` gives one, or set PY2)")


def is_usable(python: str) -> bool:
    try:
        return subprocess.run([python, "-c", IS_USABLE], capture_output=True, check=False).returncode == 0
    except OSError:
        return False
