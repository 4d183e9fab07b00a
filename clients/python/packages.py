"""Builds the source distribution and the wheel, and checks their content. Run
by ``test``.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Fails with the first thing that is wrong."""
    with tempfile.TemporaryDirectory() as made:
        # The pinned build backend is installed; nothing is fetched.
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", made, str(HERE)]
        done = subprocess.run(build, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode != 0:
            sys.stderr.write(done.stdout + done.stderr)
            return 1
        (wheel,) = Path(made).glob("*.whl")
        (source,) = Path(made).glob("*.tar.gz")
        modules = sorted(path.relative_to(HERE / "src").as_posix() for path in (HERE / "src").rglob("*.py"))
        with zipfile.ZipFile(wheel) as opened:
            missing = {*modules, "offhook/py.typed"} - set(opened.namelist())
        with tarfile.open(source) as opened_source:
            names = {name.partition("/")[2] for name in opened_source.getnames()}
        missing |= {f"src/{name}" for name in (*modules, "offhook/py.typed")} - names
        missing |= {"README.md", "pyproject.toml"} - names
        if missing:
            sys.stderr.write(f"not in the packages: {', '.join(sorted(missing))}\n")
            return 1
        # The installed package works without the source tree: from the wheel,
        # and from a checkout as in the README.
        command = "pip install ./clients/python"
        if f"`{command}`" not in (HERE / "README.md").read_text():
            sys.stderr.write(f"the README does not say `{command}`\n")
            return 1
        offline = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
        for name, what in (("wheel", str(wheel)), ("checkout", command.rsplit(maxsplit=1)[-1])):
            place = Path(made) / name
            install = [sys.executable, "-m", "pip", "install", *offline, "--target", str(place)]
            subprocess.run([*install, what], check=True, cwd=HERE.parent.parent)  # noqa: S603
            check = "import offhook, offhook.sync; print(offhook.__file__)"
            told = subprocess.run(  # noqa: S603
                [sys.executable, "-c", check],
                env={"PYTHONPATH": str(place)},
                capture_output=True,
                text=True,
                check=True,
            )
            if str(place) not in told.stdout:
                return 1
        return 0


if __name__ == "__main__":
    sys.exit(main())
