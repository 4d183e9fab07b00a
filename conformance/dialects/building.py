"""Builds the server that the stock clients of the dialects are run against."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from installation import ROOT


def build() -> Path:
    """Builds `offhook` from the current source, and returns its path."""
    locked = ["--locked"] if os.environ.get("CI") == "true" else []
    subprocess.run(["cargo", "build", "--quiet", "--package", "offhook-cli", *locked], cwd=ROOT, check=True)
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "offhook"
