"""Readers that are slow, and questions."""

from typing import Any

import pytest

from offhook import History, Inbox, Member, Message, Presence, Receipts, Refused, Settings, TimedOut, Unavailable
from offhook.wire import Acked
from simulated import World, at, message, open_world

SMALL = Settings(inbox=Inbox(count=10, size=100_000, patience=1.0))


def data(events: list[Any]) -> list[Any]:
    return [event.data for event in events if isinstance(event, Message)]


def test_the_connection_is_not_read_while_an_inbox_is_full() -> None:
    world = open_world(SMALL)
    number = world.is_live()
    for offset in range(8, 17):
        world.says(**message(offset))
    assert world.core.wants_input()
    world.says(**message(17))
    assert not world.core.wants_input()
    world.core.take(number, world.now)
    assert world.core.wants_input()
    world.passes(5.0)
    assert world.sent() == []


def test_an_inbox_is_limited_by_bytes_too() -> None:
    world = open_world(SMALL)
    number = world.is_live()
    world.says(**message(8, "x" * 60_000))
    assert world.core.wants_input()
    world.says(**message(9, "x" * 60_000))
    assert not world.core.wants_input()
    world.takes(number)
    world.says(**message(10, "x" * 60_000))
    assert world.core.wants_input()


def test_a_reader_that_does_not_read_is_paused_and_continues_from_history() -> None:
    world = open_world(SMALL)
    number, other = world.is_live(), world.is_live("other")
    for offset in range(8, 18):
        world.says(**message(offset))
    world.passes(1.0)
    assert world.sent_one("unsubscribe")["channel"] == "chat"
    assert world.core.wants_input()
    # Messages in flight are not stored: memory is bounded.
    for offset in range(18, 10_018):
        world.says(**message(offset))
    world.says(**message(8, channel="other"))
    assert data(world.takes(other)) == ["m8"]
    following = world.core.following(number)
    assert following is not None
    assert following.phase.value == "paused"
    events = world.takes(number)
    assert data(events) == [f"m{offset}" for offset in range(8, 18)]
    asked = world.sent_one("subscribe")
    assert asked["since"] == at(17)
    world.says(type="subscribed", id=asked["id"], channel="chat", position=at(10_017), live=False)
    world.says(**message(18))
    assert data(world.takes(number)) == ["m18"]


def test_a_paused_reader_stays_paused_over_a_loss_and_continues_when_it_reads() -> None:
    world = open_world(SMALL)
    number = world.is_live()
    world.says(type="token", resume="v1.second")
    for offset in range(8, 18):
        world.says(**message(offset))
    world.passes(1.0)
    world.sent_one("unsubscribe")
    world.loses()
    world.welcomes()
    assert world.sent() == []
    # The token has it still.
    world.says(type="subscribed", channel="chat", position=at(17), live=True)
    world.sent_one("unsubscribe")
    world.ends()
    # It catches up without a connection.
    world.takes(number)
    while world.core.state.name != "connecting":
        world.passes(0.1)
    world.welcomes()
    assert world.core.following(number) is not None


def test_a_full_reader_that_unsubscribes_delays_nobody() -> None:
    world = open_world(SMALL)
    number = world.is_live()
    for offset in range(8, 18):
        world.says(**message(offset))
    assert not world.core.wants_input()
    world.core.unsubscribe(number)
    assert world.core.wants_input()
    world.passes(2.0)
    world.sent_one("unsubscribe")


def test_requests_are_answered() -> None:
    world = open_world()
    ask = world.core.ask
    numbers = [
        ask({"type": "history", "channel": "chat", "limit": 2}, world.now),
        ask({"type": "presence", "channel": "chat"}, world.now),
        ask({"type": "receipts", "channel": "chat", "position": at(1)}, world.now),
        ask({"type": "ack", "channel": "chat", "consumer": "billing"}, world.now),
        ask({"type": "presence", "channel": "none"}, world.now),
    ]
    history, presence, receipts, ack, refused = world.sent()
    item = {"position": at(1), "base64": "AP8=", "time": 5}
    fields = {"channel": "chat", "head": at(9), "messages": [item], "gap": "evicted_by_age"}
    world.says(type="history", id=history["id"], **fields)
    world.says(type="members", id=presence["id"], channel="chat", members=[{"session": "s"}], total=7)
    counts = {"received": 1, "subscribers": 2, "sessions": ["s"]}
    world.says(type="received", id=receipts["id"], channel="chat", position=at(1), **counts)
    world.says(type="acked", id=ack["id"], channel="chat")
    world.refuses(refused, "no_presence", "never")
    answers = [world.outcomes[number] for number in numbers]
    first = Message("chat", at(1), b"\x00\xff", 5, previous=at(0))
    assert answers[:4] == [
        History((first,), at(9), "evicted_by_age"),
        Presence((Member("s"),), 7),
        Receipts(1, 2, ("s",)),
        Acked(None),
    ]
    assert isinstance(answers[4], Refused)


def test_an_unanswered_request_is_repeated_and_then_abandoned() -> None:
    world = World()
    number = world.core.ask({"type": "presence", "channel": "chat"}, world.now)
    world.welcomes()
    first = world.sent_one("presence")
    world.loses()
    world.welcomes()
    second = world.sent_one("presence")
    assert second["id"] != first["id"]
    world.refuses(second, "busy", "later", 2_000)
    world.passes(1.999)
    assert world.sent() == []
    world.passes(0.001)
    third = world.sent_one("presence")
    world.refuses(third, "draining", "reconnect")
    world.passes(10.0)
    assert world.sent() == []
    world.passes(10.0)
    assert isinstance(world.outcomes[number], TimedOut)
    assert isinstance(world.outcomes[number], TimeoutError)
    # A late answer is ignored.
    world.says(type="members", id=third["id"], channel="chat", members=[], total=0)


def test_requests_are_limited_and_a_cancelled_one_makes_room() -> None:
    world = World()
    message = {"type": "presence", "channel": "chat"}
    numbers = [world.core.ask(message, world.now) for _ in range(256)]
    with pytest.raises(Unavailable, match="256 questions wait"):
        world.core.ask(message, world.now)
    for number in numbers[:10]:
        world.core.cancel(number)
    for _ in range(10):
        world.core.ask(message, world.now)
    world.welcomes()
    sent = world.sent()
    assert len(sent) == 256
    world.core.cancel(numbers[10])
    world.says(type="members", id=sent[0]["id"], channel="chat", members=[], total=0)
    assert numbers[10] not in world.outcomes
