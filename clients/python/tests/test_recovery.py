"""Subscriptions over several connections."""

from typing import Any

import pytest

from offhook import CatchingUp, Event, Gap, Last, Live, Message, Refused, Subscribed
from simulated import World, at, message, open_world


def data(events: list[Event]) -> list[Any]:
    return [event.data for event in events if isinstance(event, Message)]


def kinds(events: list[Event]) -> list[str]:
    return [event.reason if isinstance(event, Gap) else type(event).__name__ for event in events]


def subscribed(world: World, asked: dict[str, Any], offset: int, *, live: bool) -> None:
    world.says(type="subscribed", id=asked["id"], channel=asked["channel"], position=at(offset), live=live)


def test_the_first_message_has_the_identity_and_supports_lineage() -> None:
    world = World(info={"name": "Ann"})
    connect = world.welcomes(user="ann")
    assert connect == {"type": "connect", "id": connect["id"], "lineage": True, "info": {"name": "Ann"}}
    assert (world.core.session, world.core.user) == ("s1", "ann")
    assert [state.name for state in world.states] == ["connecting", "open"]


def test_after_a_loss_it_continues_after_the_last_received_message() -> None:
    world = open_world()
    number = world.is_live()
    world.says(**message(8))
    world.loses()
    assert world.welcomes()["resume"] == "v1.first"
    asked = world.sent_one("subscribe")
    assert asked["since"] == at(8)
    subscribed(world, asked, 9, live=False)
    world.says(**message(9))
    world.says(type="live", channel="chat", position=at(9))
    events = world.takes(number)
    assert data(events) == ["m8", "m9"]
    assert kinds(events) == ["Message", "Subscribed", "Message", "Live"]


def test_subscriptions_restored_by_a_token_are_awaited_and_not_requested() -> None:
    world = open_world()
    number = world.is_live()
    world.says(type="token", resume="v1.second")
    world.says(**message(8))
    world.loses()
    connect = world.welcomes()
    assert (connect["resume"], connect["positions"]) == ("v1.second", {"chat": at(8)})
    assert world.sent() == []
    world.says(type="subscribed", channel="chat", position=at(8), live=True)
    assert world.takes(number)[-1] == Subscribed("chat", at(8), live=True, resumed=True)


def test_a_restored_subscription_that_is_never_announced_is_requested() -> None:
    world = open_world()
    number = world.is_live()
    world.says(type="token", resume="v1.second")
    world.loses()
    world.welcomes()
    world.passes(10.0)
    world.refuses(world.sent_one("subscribe"), "already_subscribed", "never")
    world.says(type="subscribed", channel="chat", position=at(7), live=True)
    assert world.sent() == []
    assert kinds(world.takes(number)) == ["Subscribed"]


def test_after_restored_unannounced_subscriptions_are_requested_immediately() -> None:
    world = open_world()
    world.is_live()
    world.says(type="token", resume="v1.second")
    world.loses()
    world.welcomes()
    world.says(type="restored")
    assert world.sent_one("subscribe")["since"] == at(7)


def test_an_unusable_token_is_dropped_on_the_same_connection() -> None:
    world = open_world()
    world.is_live()
    world.says(type="token", resume="v1.second")
    world.loses()
    world.accepts()
    world.refuses(world.sent_one("connect"), "bad_token", "never")
    second = world.sent_one("connect")
    assert "resume" not in second
    world.says(type="welcome", id=second["id"], session="s2", resume="v1.third")
    assert world.sent_one("subscribe")["since"] == at(7)
    assert world.core.session == "s2"
    assert world.states[-1].resumed is False


def test_with_an_empty_token_positions_are_used() -> None:
    world = World()
    world.welcomes(resume="")
    world.is_live()
    world.loses()
    assert "resume" not in world.welcomes()
    assert world.sent_one("subscribe")["since"] == at(7)


def test_unwanted_subscriptions_restored_by_a_token_are_ended() -> None:
    world = open_world()
    number = world.is_live()
    world.says(type="token", resume="v1.second")
    world.loses()
    world.core.unsubscribe(number)
    world.welcomes()
    world.says(type="subscribed", channel="chat", position=at(7), live=True)
    assert world.sent_one("unsubscribe")["channel"] == "chat"


def test_a_new_subscription_to_a_restored_channel_starts_where_requested() -> None:
    world = open_world()
    number = world.is_live()
    world.says(type="token", resume="v1.second")
    world.loses()
    world.core.unsubscribe(number)
    again = world.subscribes(since="start")
    world.welcomes()
    world.says(type="subscribed", channel="chat", position=at(7), live=True)
    sent = world.sent()
    assert [text["type"] for text in sent][-2:] in (["unsubscribe", "subscribe"], ["subscribe", "unsubscribe"])
    asked = [text for text in sent if text["type"] == "subscribe"][-1]
    assert asked["since"] == "start"
    subscribed(world, asked, 7, live=False)
    assert kinds(world.takes(again)) == ["Subscribed"]


def test_a_subscription_without_a_message_starts_again_where_requested() -> None:
    world = open_world()
    world.subscribes(since=Last(50), presence=True)
    world.loses()
    world.welcomes()
    asked = world.sent_one("subscribe")
    assert (asked["since"], asked["presence"]) == ({"last": 50}, True)


def test_a_gap_has_a_reason_and_the_next_connection_continues_after_it() -> None:
    world = open_world()
    number = world.is_live()
    world.says(**{"type": "gap", "channel": "chat", "from": at(7), "to": at(20), "reason": "evicted_by_size"})
    assert world.takes(number) == [Gap("chat", at(7), at(20), "evicted_by_size")]
    world.says(**message(21))
    assert data(world.takes(number)) == ["m21"]
    world.loses()
    world.welcomes()
    assert world.sent_one("subscribe")["since"] == at(21)


def test_a_repeated_message_is_delivered_once() -> None:
    world = open_world()
    number = world.is_live()
    for offset in (8, 8, 7, 9, 8):
        world.says(**message(offset))
    assert data(world.takes(number)) == ["m8", "m9"]


def test_an_unannounced_hole_is_reported_each_time() -> None:
    world = open_world()
    number = world.is_live()
    world.says(**message(10))
    world.says(**message(12))
    events = world.takes(number)
    assert kinds(events) == ["unannounced", "Message", "unannounced", "Message"]
    assert events[0] == Gap("chat", at(7), at(9), "unannounced")
    world.says(**{**message(1), "position": "18.1"})
    assert kinds(world.takes(number)) == ["unannounced", "Message"]


def test_a_restart_without_loss_causes_no_gap() -> None:
    world = open_world()
    number = world.is_live()
    world.says(**{**message(8), "position": "18.8", "previous": at(7)})
    world.says(**{**message(9), "position": "18.9"})
    assert kinds(world.takes(number)) == ["Message", "Message"]
    world.loses()
    world.welcomes()
    assert world.sent_one("subscribe")["since"] == "18.9"


def test_after_a_gap_into_a_new_epoch_a_message_may_still_name_the_old_one() -> None:
    world = open_world()
    number = world.is_live()
    world.says(**{"type": "gap", "channel": "chat", "from": at(7), "to": "18.7", "reason": "epoch_changed"})
    world.says(**{**message(8), "position": "18.8", "previous": at(7)})
    # The same offset does not prove that nothing is missing: a gap is reported.
    assert kinds(world.takes(number)) == ["epoch_changed", "Message"]


def test_continuity_is_checked_by_the_previous_position_and_not_by_numbers() -> None:
    world = open_world()
    number = world.is_live()
    world.says(**message(20, previous=at(7)))
    world.says(**message(21))
    world.says(**message(30, previous=at(25)))
    events = world.takes(number)
    assert kinds(events) == ["Message", "Message", "unannounced", "Message"]
    assert events[2] == Gap("chat", at(21), at(25), "unannounced")


def test_a_diverged_stream_reports_where_both_agree() -> None:
    world = open_world()
    number = world.is_live()
    gap = {"type": "gap", "channel": "chat", "from": at(7), "to": at(5), "reason": "diverged", "agreed": at(5)}
    world.says(**gap)
    world.says(**{**message(6), "position": "18.6", "previous": at(5)})
    events = world.takes(number)
    assert events[0] == Gap("chat", at(7), at(5), "diverged", agreed=at(5))
    assert kinds(events) == ["diverged", "Message"]


def test_an_empty_stream_has_the_same_start_in_each_epoch() -> None:
    world = open_world()
    number = world.is_live(offset=0)
    world.says(**{**message(1), "position": "18.1"})
    assert kinds(world.takes(number)) == ["Message"]


def test_messages_of_an_ended_subscription_are_ignored() -> None:
    world = open_world()
    number = world.is_live()
    world.core.unsubscribe(number)
    again = world.subscribes()
    unsubscribe, subscribe = world.sent()
    assert (unsubscribe["type"], subscribe["type"]) == ("unsubscribe", "subscribe")
    world.says(**message(8))
    world.says(type="unsubscribed", id=unsubscribe["id"], channel="chat")
    subscribed(world, subscribe, 8, live=True)
    world.says(**message(9))
    assert data(world.takes(again)) == ["m9"]
    assert world.takes(number) == []


def test_a_subscription_cancelled_before_it_was_sent_is_not_sent() -> None:
    world = open_world()
    for _ in range(1_000):
        world.core.unsubscribe(world.subscribes())
    assert world.sent() == []


def test_a_temporarily_ended_subscription_is_requested_again_and_a_final_end_ends_it() -> None:
    world = open_world()
    number = world.is_live()
    for _ in range(2):
        refusal = {"code": "storage_failed", "message": "disk", "retry": "later", "retry_after_ms": 700}
        world.says(type="unsubscribed", channel="chat", **refusal)
        world.passes(0.699)
        assert world.sent() == []
        world.passes(0.002)
        asked = world.sent_one("subscribe")
        assert asked["since"] == at(7)
        subscribed(world, asked, 7, live=True)
    world.says(type="unsubscribed", channel="chat", code="forbidden", message="no", retry="never")
    following = world.core.following(number)
    assert following is not None
    assert isinstance(following.error, Refused)
    # The channel is free for another.
    world.is_live()


def test_a_refused_subscribe_ends_the_requested_subscription() -> None:
    world = open_world()
    one, two = world.subscribes("one"), world.subscribes("two")
    asked = world.sent_one("subscribe")
    world.refuses({"id": asked["id"] + 1}, "unknown_channel", "never")
    subscribed(world, {"id": asked["id"], "channel": "one"}, 7, live=True)
    following = world.core.following(two)
    assert following is not None
    assert following.error is not None
    assert following.error.code == "unknown_channel"
    assert kinds(world.takes(one)) == ["Subscribed"]


def test_a_temporary_refusal_during_a_loss_does_not_request_twice() -> None:
    world = open_world()
    world.subscribes()
    world.refuses(world.sent_one("subscribe"), "busy", "later", 5_000)
    world.loses()
    world.welcomes()
    world.sent_one("subscribe")
    world.passes(6.0)
    assert world.sent() == []


def test_a_position_counts_as_handled_when_the_next_event_is_requested() -> None:
    world = open_world()
    number = world.is_live()
    following = world.core.following(number)
    assert following is not None
    assert following.handled == at(7)
    world.says(**message(8))
    world.says(**message(9))
    world.core.take(number, world.now)
    assert following.handled == at(7)
    world.core.take(number, world.now)
    assert following.handled == at(8)
    world.core.take(number, world.now)
    assert following.handled == at(9)
    assert following.received == at(9)


def test_catching_up_and_live_are_reported_in_order() -> None:
    world = open_world()
    number = world.is_live()
    world.says(type="catching_up", channel="chat", position=at(7))
    world.says(**message(8))
    world.says(type="live", channel="chat", position=at(8))
    events = world.takes(number)
    assert events[0] == CatchingUp("chat", at(7))
    assert events[2] == Live("chat", at(8))


@pytest.mark.parametrize("presence", [True, False])
def test_joins_leaves_and_members_are_delivered(presence: bool) -> None:
    world = open_world()
    number = world.subscribes(presence=presence)
    asked = world.sent_one("subscribe")
    assert ("presence" in asked) is presence
    subscribed(world, asked, 7, live=True)
    member = {"session": "s9", "user": "bob", "info": {"colour": "red"}}
    world.says(type="join", channel="chat", **member)
    world.says(type="leave", channel="chat", **member)
    world.says(type="members", channel="chat", members=[member], total=1)
    assert kinds(world.takes(number)) == ["Subscribed", "Join", "Leave", "Members"]
