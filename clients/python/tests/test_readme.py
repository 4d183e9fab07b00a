"""The examples of the README, as they stand there, against the real server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mypy import api

import offhook
from machine import PROGRAM, free_port

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = [part.split("```")[0] for part in README.split("```python\n")[1:]]
ADDRESS = "ws://127.0.0.1:8000/ws"


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server, where the address of the examples leads."""
    assert PROGRAM, "OFFHOOK names no server: run clients/python/test, which builds one"
    port = free_port()
    command = [PROGRAM, "serve", "--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "data")]
    connect = offhook.connect

    def redirected(url: str, **options: Any) -> offhook.Client:
        assert url == ADDRESS
        return connect(f"ws://127.0.0.1:{port}/ws", proxy=None, **options)

    monkeypatch.setattr("offhook.connect", redirected)
    monkeypatch.setattr("offhook.client.connect", redirected)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert any(b"ws://" in line for line in process.stdout)
        yield
        process.kill()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.usefixtures("address")
def test_an_example_runs(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - that is the test
    said = capsys.readouterr().out
    expected = ["a stranger says {'text': 'hi'}", "billing {'number': 2}", "hello", "from a script"]
    assert any(line in said for line in expected), said


def test_an_example_passes_the_type_checker(tmp_path: Path) -> None:
    files = []
    for number, example in enumerate(EXAMPLES):
        files.append(tmp_path / f"example_{number}.py")
        files[-1].write_text(example)
    said, complaint, status = api.run(["--strict", *map(str, files)])
    assert (status, complaint) == (0, ""), said


def test_the_documented_commands_run_the_tests() -> None:
    root = Path(__file__).parents[3]
    for command in ("clients/python/test", "./test python"):
        assert f"`{command}`" in README
    assert (root / "clients" / "python" / "test").is_file()
    said = subprocess.run(["./test", "--help"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert "\n  python " in said
