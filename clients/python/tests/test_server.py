"""The client against the real server, which is killed, stopped, frozen and cut off."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import re
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import offhook
from machine import PROGRAM, Network, Server, runs, served
from offhook import Filter, Gap, Inbox, Join, Last, Leave, Message, Own, Settings, State, Subscribed, Subscription

QUICK = Settings(backoff=offhook.Backoff(first=0.05, cap=0.2))
COUNT = 150


def client_of(network: Network | Server, settings: Settings = QUICK, **more: Any) -> offhook.Client:
    return offhook.connect(f"ws://127.0.0.1:{network.port}/ws", settings=settings, proxy=None, **more)


async def read(room: Subscription, count: int) -> tuple[list[Any], list[str]]:
    """The data of this many messages, and the gaps between them."""
    data: list[Any] = []
    gaps: list[str] = []
    async for event in room:
        if isinstance(event, Gap):
            gaps.append(event.reason)
        if isinstance(event, Message):
            data.append(event.data)
            if len(data) == count:
                return data, gaps
    raise AssertionError(f"it ended after {data}")


async def state(client: offhook.Client, name: str) -> State:
    """The next time that the connection gets there."""
    there = asyncio.get_running_loop().create_future()
    stop = client.on(State, lambda to: there.set_result(to) if to.name == name and not there.done() else None)
    try:
        reached: State = await there
        return reached
    finally:
        stop()


async def program(*arguments: str) -> str:
    """What the program prints."""
    process = await asyncio.create_subprocess_exec(PROGRAM, *arguments, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


async def message(room: Subscription) -> Message:
    async for event in room:
        if isinstance(event, Message):
            return event
    raise AssertionError("it ended")


@runs
async def test_killed_and_cut_while_it_publishes_every_message_arrives_once_and_in_order() -> None:
    async with served() as (server, network), client_of(network) as publisher, client_of(network) as subscriber:
        reading = asyncio.ensure_future(read(subscriber.subscribe("chat", since="start"), COUNT))
        answers = []
        for number in range(COUNT):
            answers.append(publisher.publish("chat", number))
            if number % 50 == 25:
                await answers[number - 10]
                await server.kill()
                await server.start()
            elif number % 10 == 5:
                await answers[max(0, number - 3)]
                network.cut()
        published = await asyncio.gather(*answers)
        assert await reading == (list(range(COUNT)), [])
        assert len({answer.position for answer in published}) == COUNT
        async with client_of(network) as late:
            assert await read(late.subscribe("chat", since="start"), COUNT) == (list(range(COUNT)), [])


@runs
async def test_a_graceful_restart_continues_with_the_same_session_and_no_gap() -> None:
    async with served() as (server, network), client_of(network) as one, client_of(network) as other:
        room = one.subscribe("chat")
        assert isinstance(await room.next(), Subscribed)
        await other.publish("chat", 1)
        assert (await message(room)).data == 1
        session = one.session
        back = asyncio.ensure_future(state(one, "open"))
        await server.stop()
        await server.start()
        assert (await back).resumed
        assert one.session == session
        await other.publish("chat", 2)
        assert await read(room, 1) == ([2], [])


@runs
async def test_messages_that_are_no_longer_retained_are_a_gap_with_its_reason() -> None:
    async with served() as (_, network), client_of(network) as one:
        room = one.subscribe("chat", since="17.3")
        events = [await room.next(), await room.next()]
        assert [event.reason for event in events if isinstance(event, Gap)] == ["epoch_changed"]


@runs
async def test_bytes_tags_history_presence_receipts_and_a_consumer() -> None:
    async with served() as (_, network), client_of(network, info={"name": "one"}) as one:
        room = one.subscribe("chat", presence=True)
        assert isinstance(await room.next(), Subscribed)
        first = await one.publish("chat", b"\x00\xff", tags={"kind": "raw"}, key="k1")
        again = await one.publish("chat", "again", key="k1")
        assert (again.position, again.duplicate) == (first.position, True)
        came = await message(room)
        assert (came.data, came.tags, came.position) == (b"\x00\xff", {"kind": "raw"}, first.position)
        for text in ("a", "b", "c"):
            await one.publish("chat", text)
        history = await one.history("chat", limit=2)
        assert [item.data for item in history.messages] == ["b", "c"]
        assert history.messages[-1].position == history.head
        before = await one.history("chat", before=history.messages[0].position, limit=2)
        assert [item.data for item in before.messages] == [b"\x00\xff", "a"]
        everything = await one.history("chat", since="start", limit=10)
        assert len(everything.messages) == 4
        assert [item.data for item in (await one.history("chat", since=Last(1))).messages] == ["c"]
        presence = await one.presence("chat")
        assert [(member.session, member.info) for member in presence.members] == [(one.session, {"name": "one"})]
        receipts = await one.receipts("chat", history.head)
        while receipts.received == 0:
            receipts = await one.receipts("chat", history.head)
        assert (receipts.received, receipts.subscribers, receipts.sessions) == (1, 1, (one.session,))
        assert await one.ack("chat", "billing") is None
        assert await one.ack("chat", "billing", history.head) == history.head
        assert await one.ack("chat", "billing") == history.head
        with pytest.raises(offhook.Refused) as refused:
            await one.publish("a*b", 1)
        assert (refused.value.code, refused.value.retry) == ("bad_channel_name", "never")
        with pytest.raises(offhook.Refused, match="too_large"):
            await one.publish("chat", "x" * 100_000)


@runs
async def test_history_is_read_backward_page_by_page_over_a_restart() -> None:
    async with served() as (server, network), client_of(network) as one:
        for number in range(4):
            await one.publish("chat", number)
        await server.stop()
        await server.start()
        for number in range(4, 9):
            await one.publish("chat", number)
        before = (await one.publish("chat", 9)).position
        read: list[Any] = []
        while True:
            page = await one.history("chat", before=before, limit=3)
            assert page.gap is None
            read[:0] = [message.data for message in page.messages]
            if not page.more:
                break
            before = page.messages[0].position
        assert read == list(range(9))
        with pytest.raises(ValueError, match="not a position"):
            await one.history("chat", before="yesterday")


@runs
async def test_a_channels_state_can_be_read_and_subscribed_to() -> None:
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "offhook.toml"
        config.write_text('[[channels]]\npattern = "prices"\n[channels.state]\ncount = 100\n')
        async with served("--config", str(config)) as (_, network), client_of(network) as one:
            for key, price in (("BTC", 1), ("ETH", 2), ("BTC", 3), ("XRP", 4), ("XRP", None)):
                await one.publish("prices", price, tags={"key": key})
            values = [("ETH", 2), ("BTC", 3)]
            state = await one.read_state("prices")
            assert [(value.tags["key"], value.data) for value in state.messages] == values
            assert not state.more
            first = await one.read_state("prices", limit=1)
            assert ([value.data for value in first.messages], first.more) == ([2], True)
            rest = await one.read_state("prices", since=first.messages[0].position)
            assert [value.data for value in rest.messages] == [3]
            prices = one.subscribe("prices", since="state")
            got = []
            async for event in prices:
                if isinstance(event, Message):
                    got.append((event.tags["key"], event.data, event.is_state))
                if isinstance(event, Gap):
                    assert (event.reason, event.to) == ("state", state.head)
                    break
            assert got == [(*value, True) for value in values]
            await one.publish("prices", 5, tags={"key": "ETH"})
            after = await message(prices)
            assert (after.data, after.is_state) == (5, False)
            with pytest.raises(offhook.Refused, match="unknown_channel"):
                await one.read_state("other")


@runs
async def test_a_members_new_info_reaches_subscribers_with_presence_and_survives_a_cut() -> None:
    async with served() as (_, network), client_of(network) as watcher, client_of(network, info="Ann") as member:
        room = watcher.subscribe("chat", presence=True)
        assert isinstance(await room.next(), Subscribed)
        member.subscribe("chat")

        async def joined() -> Any:
            async for event in room:
                if isinstance(event, Join) and event.member.session == member.session:
                    return event.member.info
            raise AssertionError("it ended")

        assert await joined() == "Ann"
        await member.set_info({"name": "Ann", "away": True})
        assert await joined() == {"name": "Ann", "away": True}
        back = asyncio.ensure_future(state(member, "open"))
        network.cut()
        assert (await back).resumed
        infos = {there.session: there.info for there in (await member.presence("chat")).members}
        assert infos[member.session or ""] == {"name": "Ann", "away": True}


@runs
async def test_data_sent_with_the_http_api_reaches_only_its_session() -> None:
    made = await program("token", "--api-key")
    key, entry = re.findall(r"^key +(\S+)$", made, re.MULTILINE)[0], re.findall(r"sha256:\w+", made)[0]
    async with served("--api-keys", f"sessions {entry}") as (server, network), contextlib.AsyncExitStack() as clients:
        one, other = [await clients.enter_async_context(client_of(network)) for _ in range(2)]
        told: dict[str, asyncio.Future[Any]] = {}
        for client in (one, other):
            await client.opened()
            first = asyncio.get_running_loop().create_future()
            client.on(offhook.Told, lambda told, first=first: first.set_result(told.data))  # type: ignore[misc]
            told[client.session or ""] = first

        def send(session: str, data: str) -> None:
            request = urllib.request.Request(
                f"http://127.0.0.1:{server.port}/api/v1/send",
                json.dumps({"session": session, "data": data}).encode(),
                {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the address is ours
                assert json.load(answer) == {"sessions": 1}

        for session, first in told.items():
            await asyncio.to_thread(send, session, session)
            assert await first == session


@runs
async def test_a_subscription_made_with_the_http_api_is_read_like_any_other() -> None:
    shown = await program("token", "--api-key")
    key, entry = re.findall(r"^key +(\S+)$", shown, re.MULTILINE)[0], re.findall(r"sha256:\w+", shown)[0]
    async with served("--api-keys", f"sessions {entry}") as (server, network), client_of(network) as client:
        await client.opened()
        made: asyncio.Future[offhook.Subscription] = asyncio.get_running_loop().create_future()
        client.on(offhook.Made, lambda event: made.set_result(event.subscription))

        def subscribe() -> None:
            request = urllib.request.Request(
                f"http://127.0.0.1:{server.port}/api/v1/subscribe",
                json.dumps({"session": client.session, "channel": "chat"}).encode(),
                {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the address is ours
                assert json.load(answer) == {"sessions": 1}

        await asyncio.to_thread(subscribe)
        subscription = await made
        await client.publish("chat", "hello")
        while not isinstance(event := await subscription.next(), offhook.Message):
            pass
        assert (event.channel, event.data) == ("chat", "hello")


@runs
async def test_a_filter_several_on_one_channel_echo_and_several_in_one_message() -> None:
    async with served() as (_, network), client_of(network) as one:
        sensors = one.subscribe(Filter("sensors/+"))
        quiet, again = one.subscribe("sensors/a", echo=False), one.subscribe("sensors/a", since="start")
        for room in (sensors, quiet, again):
            assert isinstance(await room.next(), Subscribed)
        first = await one.publish("sensors/a", "own")
        await one.publish("sensors/b", "b")
        some = [await message(sensors), await message(sensors)]
        assert [(came.channel, came.data, came.at is not None) for came in some] == [
            ("sensors/a", "own", True),
            ("sensors/b", "b", True),
        ]
        assert sensors.position == some[0].at
        assert (await message(again)).data == "own"
        own = await quiet.next()
        assert isinstance(own, Own)
        assert own.position == first.position
        back = asyncio.ensure_future(state(one, "open"))
        network.cut()
        await back
        await one.publish("sensors/c", "after the cut")
        assert await read(sensors, 1) == (["after the cut"], [])
        rooms = one.subscribe_all(["sensors/a", "sensors/b", "new"], since="start")
        assert await read(rooms[1], 1) == (["b"], [])
        with pytest.raises(offhook.Refused) as refused:
            await one.call("orders.cancel", {"order": 7}, deadline=5)
        assert refused.value.code == "forbidden"


class Backend(ThreadingHTTPServer):
    """A backend as docs/webhooks.md describes it, which answers calls only if they are signed."""

    SECRET = "a secret of at least thirty-two bytes"

    def __init__(self, answers: dict[str, Callable[[Any], dict[str, Any]]]) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answers = answers
        super().__init__(("127.0.0.1", 0), Webhook)

    def answer(self, headers: Any, body: bytes) -> tuple[int, dict[str, Any]]:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        signature = base64.b64encode(hmac.digest(self.SECRET.encode(), signed, "sha256")).decode()
        if headers["webhook-signature"] != f"v1,{signature}":
            return 401, {}
        call = json.loads(body)
        self.calls.append(call)
        return 200, self.answers[call["method"]](call.get("data"))


class Webhook(BaseHTTPRequestHandler):
    server: Backend

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, value = self.server.answer(self.headers, body)
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def backend_with(answers: dict[str, Callable[[Any], dict[str, Any]]]) -> Iterator[Backend]:
    with Backend(answers) as backend:
        thread = threading.Thread(target=backend.serve_forever)
        thread.start()
        try:
            yield backend
        finally:
            backend.shutdown()
            thread.join()


@runs
async def test_a_call_gets_the_backends_answer_its_error_unchanged_and_brings_its_key() -> None:
    full = {"code": "room_full", "message": "The room is full.", "data": {"max": 8}}
    answers: dict[str, Callable[[Any], dict[str, Any]]] = {
        "add": lambda data: {"data": sum(data)},
        "bytes": lambda _: {"base64": "AP8="},
        "enter": lambda _: {"error": full},
    }
    with backend_with(answers) as backend:
        url = f"http://127.0.0.1:{backend.server_port}/offhook"
        settings = ["--backend-url", url, "--backend-secrets", backend.SECRET, "--backend-calls", "everyone"]
        async with served(*settings) as (_, network), client_of(network) as client:
            assert await client.call("add", [2, 3]) == 5
            assert await client.call("bytes") == b"\x00\xff"
            with pytest.raises(offhook.Refused) as refused:
                await client.call("enter", {"room": 7}, key="enter-7")
    error = refused.value
    assert (error.code, error.message, error.retry, error.backend) == ("rejected", full["message"], "never", full)
    assert [(call["type"], call["method"], call.get("data"), call.get("key")) for call in backend.calls] == [
        ("call", "add", [2, 3], None),
        ("call", "bytes", None, None),
        ("call", "enter", {"room": 7}, "enter-7"),
    ]


@runs
async def test_acknowledged_flow_over_cuts_and_a_kill_neither_repeats_nor_loses_messages() -> None:
    count = 60
    async with served() as (server, network), client_of(network) as publisher, client_of(network) as worker:
        jobs = worker.subscribe("jobs", since="start", window=5)
        publishing = asyncio.gather(*[publisher.publish("jobs", number) for number in range(count)])
        seen: list[Any] = []
        undone: list[Message] = []
        while len(seen) < count:
            undone.append(await message(jobs))
            seen.append(undone[-1].data)
            if len(undone) < 2:
                continue
            # The newer one is done first; now and then the connection is lost in between.
            jobs.done(undone[1])
            if seen[-1] % 20 == 9:
                network.cut()
            if seen[-1] == 31:
                await server.kill()
                await server.start()
            jobs.done(undone[0])
            undone.clear()
        answers = await publishing
        assert seen == list(range(count))
        assert jobs.position == answers[-1].position


@runs
async def test_members_join_and_leave() -> None:
    async with served("--limits-presence-grace", "100ms") as (_, network), client_of(network) as watcher:
        room = watcher.subscribe("chat", presence=True)
        assert isinstance(await room.next(), Subscribed)
        async with client_of(network, info="guest") as guest:
            other = guest.subscribe("chat")
            await other.next()
            session = guest.session
        seen: list[Any] = []
        async for event in room:
            if isinstance(event, Join | Leave) and event.member.session == session:
                seen.append((type(event), event.member.info))
            if len(seen) == 2:
                break
        assert seen == [(Join, "guest"), (Leave, "guest")]


@runs
async def test_a_burst_above_the_servers_rate_is_slowed_down_and_arrives_completely() -> None:
    async with served() as (_, network), client_of(network) as one:
        reading = asyncio.ensure_future(read(one.subscribe("chat", since="start"), 300))
        answers = await asyncio.gather(*[one.publish("chat", number, ordered=False) for number in range(300)])
        assert len({answer.position for answer in answers}) == 300
        data, gaps = await reading
        assert (sorted(data), gaps) == (list(range(300)), [])


@runs
async def test_a_hanging_server_is_detected_and_abandoned() -> None:
    settings = Settings(backoff=QUICK.backoff, heartbeat=offhook.Heartbeat(every=0.2, within=0.3), open_within=1.0)
    async with served() as (server, network), client_of(network, settings) as one:
        room = one.subscribe("chat", since="start")
        await room.next()
        lost = asyncio.ensure_future(state(one, "waiting"))
        server.freeze()
        await lost
        waiting = one.publish("chat", "written while it hung")
        server.thaw()
        await waiting
        assert (await message(room)).data == "written while it hung"


@runs
async def test_a_network_that_drops_everything_is_detected() -> None:
    settings = Settings(backoff=QUICK.backoff, heartbeat=offhook.Heartbeat(every=0.2, within=0.3), open_within=0.5)
    async with served() as (_, network), client_of(network, settings) as one:
        await one.opened()
        lost = asyncio.ensure_future(state(one, "waiting"))
        network.die()
        await lost
        network.cut()
        network.revive()
        await one.publish("chat", "through")


@runs
async def test_a_slow_reader_gets_everything_and_delays_nobody() -> None:
    settings = Settings(backoff=QUICK.backoff, inbox=Inbox(count=20, patience=0.05))
    async with served() as (_, network), client_of(network, settings) as one, client_of(network) as other:
        slow, fast = one.subscribe("slow", since="start"), one.subscribe("fast", since="start")
        await asyncio.gather(*[other.publish("slow", number, ordered=False) for number in range(100)])
        while slow.state != "paused":
            await one.presence("fast")
        await other.publish("fast", "here")
        assert (await message(fast)).data == "here"
        data, gaps = await read(slow, 100)
        assert (sorted(data), gaps) == (list(range(100)), [])


@runs
async def test_callbacks_get_the_same_events_and_a_failing_one_has_no_effect_on_others() -> None:
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    async with served() as (_, network), client_of(network) as one:
        room = one.subscribe("chat", since="start")
        seen: list[Any] = []
        ended = asyncio.get_running_loop().create_future()

        async def slowly(event: Message) -> None:
            await asyncio.sleep(0)
            seen.append(event.data)

        def fails(event: Message) -> None:
            raise KeyError(event.data)

        room.on(Message, fails)
        stop: Callable[[], None] = room.on(Message, slowly)
        room.on(offhook.Ended, ended.set_result)
        with pytest.raises(RuntimeError, match="use either handlers or a loop"):
            await room.next()
        for number in range(5):
            await one.publish("chat", number)
        while len(seen) < 5:
            await one.presence("chat")
        stop()
        await one.publish("chat", 5)
        room.unsubscribe()
        assert await ended == offhook.Ended("chat", None)
        assert seen == [0, 1, 2, 3, 4]
        assert [type(failure) for failure in failures][:5] == [KeyError] * 5
    assert room.state == "ended"


@runs
async def test_cancelling_a_wait_for_an_event_or_an_answer_loses_nothing() -> None:
    async with served() as (_, network), client_of(network) as one:
        room = one.subscribe("chat", since="start")
        await room.next()
        for number in range(20):
            waiting = asyncio.ensure_future(room.next())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            answer = one.publish("chat", number)
            if number % 2:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(room.next(), 0)
            await answer
            assert (await message(room)).data == number
        question = asyncio.ensure_future(one.presence("chat"))
        await asyncio.sleep(0)
        question.cancel()
        await asyncio.gather(question, return_exceptions=True)
        assert (await one.presence("chat")).total == 1


@runs
async def test_closing_ends_loops_and_fails_pending_requests() -> None:
    async with served() as (_, network):
        one = client_of(network)
        await one.opened()
        room = one.subscribe("chat")
        loop = asyncio.ensure_future(read(room, 1))
        network.refuse()
        answer = one.publish("chat", "never")
        question = asyncio.ensure_future(one.presence("chat"))
        await asyncio.sleep(0)
        await one.close()
        with pytest.raises(AssertionError, match="it ended after"):
            await loop
        for waiting in (answer, question):
            with pytest.raises(offhook.Closed):
                await waiting
        with pytest.raises(offhook.Closed):
            one.subscribe("chat")
        assert one.state.name == "closed"
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if "offhook" in task.get_name()]


@runs
async def test_a_session_on_another_connection_replaces_this_one_permanently() -> None:
    async with served("--workers", "1") as (_, network), client_of(network) as one:
        room = one.subscribe("chat")
        await room.next()
        closed = asyncio.ensure_future(state(one, "closed"))
        copy = client_of(network)
        # A copy of the process would have the same token.
        copy._core._resume = one._core._resume  # noqa: SLF001 - nothing public gives it
        error = (await closed).error
        assert error is not None
        assert error.code == "replaced"
        with pytest.raises(offhook.Closed):
            await room.next()
        await copy.close()


@runs
async def test_a_token_is_fetched_for_each_connection() -> None:
    asked = 0
    secret = "0123456789abcdef0123456789abcdef"

    async def token() -> str:
        nonlocal asked
        asked += 1
        return (await program("token", "ann", "--secret", secret)).strip()

    async with served("--auth-secrets", secret) as (_, network), client_of(network, token=token) as one:
        await one.opened()
        assert one.user == "ann"
        back = asyncio.ensure_future(state(one, "open"))
        network.cut()
        await back
        assert asked >= 2
