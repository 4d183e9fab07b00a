"""The real server, and the network between it and a client."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

PROGRAM = os.environ.get("OFFHOOK", "")
PATIENCE = 60.0
"""Nothing waits for this to pass: what takes longer has failed."""


def runs(scene: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a coroutine function as a test, with a watchdog."""

    @functools.wraps(scene)
    def run(*args: Any, **more: Any) -> None:
        asyncio.run(asyncio.wait_for(scene(*args, **more), PATIENCE))

    return run


def free_port() -> int:
    """Return a free port that the system gives to no connection by itself.

    It is also free when a server that was killed comes back, whose clients try all the time to connect to it.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """``offhook serve``, started, killed and started again where it was."""

    def __init__(self, *settings: str) -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="offhook-python-"))
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Serves when this has ended."""
        assert PROGRAM, "OFFHOOK names no server: run clients/python/test, which builds one"
        where = ("--listen", f"127.0.0.1:{self.port}", "--data", str(self._directory / "data"))
        self._process = await asyncio.create_subprocess_exec(
            PROGRAM, "serve", *where, *self._settings, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if b"ws://" in line:
                return
        raise AssertionError(f"the server ended with {await self._process.wait()}")

    async def kill(self) -> None:
        """No goodbye to anybody."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """A graceful stop."""
        await self._end(signal.SIGTERM)

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def remove(self) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        # Its remaining output must be read, or it could block forever.
        await self._process.communicate()


class Network:
    """Passes bytes on, cuts, refuses, or swallows everything."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.accepted = 0
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._is_refusing = False
        self._flows = asyncio.Event()

    async def start(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Every connection breaks; new ones are fine."""
        for writer in list(self._writers):
            writer.transport.abort()

    def refuse(self) -> None:
        """Every connection breaks, and there is no new one."""
        self._is_refusing = True
        self.cut()

    def die(self) -> None:
        """Everything is dropped from now on, and neither side is notified."""
        self._flows.clear()

    def revive(self) -> None:
        self._is_refusing = False
        self._flows.set()

    async def close(self) -> None:
        self.revive()
        self.cut()
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        if self._is_refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        # The other end is notified.
        if not writer.is_closing():
            writer.close()


@contextlib.asynccontextmanager
async def served(*settings: str) -> AsyncIterator[tuple[Server, Network]]:
    """A server, and a network to it."""
    server = Server(*settings)
    try:
        await server.start()
        network = Network(server.port)
        await network.start()
        try:
            yield server, network
        finally:
            await network.close()
    finally:
        await server.remove()
