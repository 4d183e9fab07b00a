"""Runs the program `offhook serve` as the suite's server: `program.py BINARY [--tls] ADDRESS`.

The suite talks to `echo_path`, which is `/` here. With --tls, the server accepts TLS only, and this
script passes the suite's bytes on to it over TLS, because the suite's own Python is too old for today's TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import subprocess
import sys
import tempfile
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE
from pathlib import Path

SETTINGS = [
    "--in-memory",
    "--echo-path=/",
    "--talk=false",
    "--origins=any",
    "--messages-deflate",
    "--messages-max-bytes=64MiB",
    # The suite's clients never connect to the engine.
    "--connections-connect-timeout=1h",
    "--connections-handshakes-per-second=100000",
]


def certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-nodes", "-days", "1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return cert, key


async def serve(binary: str, address: str, flags: list[str], folder: Path) -> tuple[str, asyncio.Task]:
    """Starts the server; returns where it listens, and what ends when it does."""
    command = [binary, "serve", "--listen", address, *SETTINGS, *flags]
    server = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=PIPE)
    while line := (await server.stdout.readline()).decode():
        if found := re.search(r"url\S*\s.*wss?://([^/\s]+)/", line):
            return found[1], asyncio.create_task(server.wait())
    raise SystemExit(f"the server ended with status {await server.wait()}")


async def copy(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    # The end of one direction ends both: the server ends TCP after its Close.
    with contextlib.suppress(OSError):
        writer.close()


async def bridge(address: str, server: str, trusted: ssl.SSLContext) -> str:
    """Accepts plain connections and passes them on over TLS; returns where."""
    host, port = server.rsplit(":", 1)

    async def accept(reader: StreamReader, writer: StreamWriter) -> None:
        there = await asyncio.open_connection(host, int(port), ssl=trusted, server_hostname="localhost")
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    listener = await asyncio.start_server(accept, *address.rsplit(":", 1))
    name = listener.sockets[0].getsockname()
    return f"{name[0]}:{name[1]}"


async def main(binary: str, *arguments: str) -> None:
    *options, address = arguments
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options == ["--tls"]:
            cert, key = certificate(folder)
            flags = [f"--tls-cert={cert}", f"--tls-key={key}"]
            server, ended = await serve(binary, "127.0.0.1:0", flags, folder)
            trusted = ssl.create_default_context(cafile=str(cert))
            trusted.set_alpn_protocols(["http/1.1"])
            listening = await bridge(address, server, trusted)
        else:
            listening, ended = await serve(binary, address, [], folder)
        print(f"listening on {listening}", flush=True)
        raise SystemExit(await ended)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
