"""The synchronous front, against the real server."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import offhook
from machine import PROGRAM, free_port
from offhook import Message
from offhook.sync import connect


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    assert PROGRAM, "OFFHOOK names no server: run clients/python/test, which builds one"
    port = free_port()
    command = [PROGRAM, "serve", "--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert any(b"ws://" in line for line in process.stdout)
        yield f"ws://127.0.0.1:{port}/ws"
        process.kill()


def test_a_script_publishes_and_reads(url: str) -> None:
    with connect(url, proxy=None, info="script") as client:
        client.opened(timeout=30)
        with client.subscribe("chat", since="start", presence=True) as room:
            first = client.publish("chat", {"text": "hi"}, key="k", tags={"a": "b"}, timeout=30)
            client.publish("chat", b"\x00", timeout=30)
            data: list[Any] = []
            for event in room:
                if isinstance(event, Message):
                    data.append(event.data)
                if len(data) == 2:
                    break
            assert data == [{"text": "hi"}, b"\x00"]
            assert room.position == first.position
            assert client.presence("chat", timeout=30).members[0].session == client.session
            assert client.receipts("chat", first.position, timeout=30).subscribers == 1
        assert [message.data for message in client.history("chat", limit=1, timeout=30).messages] == [b"\x00"]
        assert client.ack("chat", "script", first.position, timeout=30) == first.position
        with pytest.raises(offhook.Refused):
            client.publish("a*b", 1)
    assert client.state.name == "closed"
    client.close()


def test_a_script_works_through_jobs_and_reads_by_filter(url: str) -> None:
    with connect(url, proxy=None) as client:
        with client.subscribe("jobs/a", since="start", window=2) as jobs:
            for number in range(4):
                client.publish("jobs/a", number, timeout=30)
            data: list[Any] = []
            for event in jobs:
                if isinstance(event, Message):
                    data.append(event.data)
                    jobs.done(event, cumulative=True)
                if len(data) == 4:
                    break
            assert data == [0, 1, 2, 3]
        with client.subscribe(offhook.Filter("jobs/#")) as every:
            assert isinstance(every.next(timeout=30), offhook.Subscribed)
            client.publish("jobs/b", "by filter", timeout=30)
            event = every.next(timeout=30)
            assert isinstance(event, Message)
            assert event.data == "by filter"
        rooms = client.subscribe_all(["jobs/a", "jobs/b"], since="start")
        assert all(isinstance(room.next(timeout=30), offhook.Subscribed) for room in rooms)
        client.set_info({"name": "script"}, timeout=30)
        with pytest.raises(offhook.Refused, match="forbidden"):
            client.call("orders.cancel", timeout=30)


def test_a_timeout_loses_no_event_and_causes_no_later_publication(url: str) -> None:
    with connect(url, proxy=None) as client, connect(url, proxy=None) as other:
        room = client.subscribe("chat", since="start")
        assert isinstance(room.next(timeout=30), offhook.Subscribed)
        for number in range(5):
            with pytest.raises(offhook.TimedOut):
                room.next(timeout=0.001)
            other.publish("chat", number)
            event = room.next(timeout=30)
            assert isinstance(event, Message)
            assert event.data == number
    with connect(f"ws://127.0.0.1:{free_port()}/ws", proxy=None) as nowhere, pytest.raises(offhook.TimedOut):
        nowhere.publish("chat", 1, timeout=0.001)


def test_many_threads_may_use_one_client(url: str) -> None:
    with connect(url, proxy=None) as client:
        threads = [threading.Thread(target=client.publish, args=("chat", number)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(message.data for message in client.history("chat").messages) == list(range(20))


def test_an_invalid_address_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="not an address"):
        connect("nowhere at all")
    assert threading.active_count() == before
