"""Requests other than subscriptions: calls, state, and the info that others see
of this session.
"""

from typing import Any

import pytest

from offhook import History, TimedOut, Unavailable
from offhook.core.questions import Repeats
from offhook.wire import Called
from simulated import World, at, open_world


def calls(world: World, within: float = 10.0) -> int:
    message = {"type": "call", "method": "orders.cancel", "data": {"order": 7}}
    request = world.core.ask(message, world.now, repeats=Repeats.NEVER, within=within)
    world.settle()
    return request


def outcome(world: World, request: int, kind: type[Any]) -> Any:
    result = world.outcomes[request]
    assert isinstance(result, kind), result
    return result


def test_a_call_returns_the_backends_answer_as_json_or_bytes() -> None:
    world = open_world()
    requests = [calls(world), calls(world)]
    first, second = world.sent()
    assert (first["method"], first["data"]) == ("orders.cancel", {"order": 7})
    world.says(type="called", id=second["id"], base64="Ag==")
    world.says(type="called", id=first["id"], data={"cancelled": True})
    assert [outcome(world, request, Called).data for request in requests] == [{"cancelled": True}, b"\x02"]


def test_a_call_is_sent_once_regardless_of_the_answer() -> None:
    world = open_world()
    busy, late, lost = calls(world), calls(world, 3.0), calls(world)
    world.refuses(world.sent()[0], "timed_out", "later", 10)
    assert outcome(world, busy, TimedOut).retry == "later"
    world.passes(3.0)
    assert "within 3 s" in outcome(world, late, TimedOut).message
    world.loses()
    assert outcome(world, lost, Unavailable).code == "offline"
    world.welcomes()
    assert world.sent() == []


def test_a_call_without_a_connection_waits_for_one() -> None:
    world = open_world()
    world.ends()
    request = calls(world)
    world.passes(1.0)
    world.welcomes()
    world.says(type="called", id=world.sent_one("call")["id"], data=1)
    assert outcome(world, request, Called).data == 1


def test_a_repeatable_request_is_repeated_on_the_next_connection() -> None:
    world = open_world()
    request = world.core.ask({"type": "state", "channel": "prices"}, world.now)
    world.sent_one("state")
    world.loses()
    world.welcomes()
    asked = world.sent_one("state")
    value = {"position": at(2), "data": 5, "time": 1, "tags": {"key": "oil"}}
    world.says(type="state", id=asked["id"], channel="prices", head=at(9), messages=[value], more=True)
    state = outcome(world, request, History)
    assert (state.messages[0].data, state.head, state.more) == (5, at(9), True)


def test_changed_info_is_also_used_by_the_next_connection() -> None:
    world = open_world(info={"name": "Ann"})
    request = world.core.set_info({"name": "Ann", "away": True}, world.now)
    asked = world.sent_one("presence_update")
    assert asked["info"] == {"name": "Ann", "away": True}
    world.says(type="presence_updated", id=asked["id"])
    assert request in world.outcomes
    world.loses()
    assert world.welcomes()["info"] == {"name": "Ann", "away": True}
    with pytest.raises(TypeError):
        world.core.set_info({1, 2}, world.now)
