"""The program that the stock clients of the dialects talk to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from installation import ROOT


def build() -> Path:
    """`offhook`, built as it is now."""
    locked = ["--locked"] if os.environ.get("CI") == "true" else []
    subprocess.run(["cargo", "build", "--quiet", "--package", "offhook-cli", *locked], cwd=ROOT, check=True)
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "offhook"
