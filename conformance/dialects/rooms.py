"""The worked example of docs/dialects/socketio.md: its configuration, its backend and its client, as they are printed there."""

from __future__ import annotations

import re
from pathlib import Path

from installation import ROOT
from programs import Program, free_port

PAGE = ROOT / "docs" / "dialects" / "socketio.md"


def files() -> dict[str, str]:
    """The files of the example by name. The first line of each is a comment with the name."""
    blocks = re.findall(r"^```\w+\n(?:#|//) (\S+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(blocks)


class Example:
    """A server and a backend with the example's files, at ports that are free."""

    def __init__(self, binary: Path, node: str, folder: Path) -> None:
        self.port, backend_port = free_port(), free_port()
        printed = files()
        ports = {"127.0.0.1:3000": f"127.0.0.1:{backend_port}", "listen(3000": f"listen({backend_port}", "127.0.0.1:8000": f"127.0.0.1:{self.port}"}
        for name, text in printed.items():
            for there, here in ports.items():
                text = text.replace(there, here)
            (folder / name).write_text(text)
        self.client = folder / "client.js"
        self.backend = Program([node, str(folder / "backend.mjs")])
        self.backend.line("listening")
        listen = ["--listen", f"127.0.0.1:{self.port}", "--data", str(folder / "data")]
        self.server = Program([str(binary), "serve", "--config", str(folder / "offhook.toml"), *listen])
        self.server.line("http://")

    def stop(self) -> None:
        self.server.stop()
        self.backend.stop()
