"""Filters, several subscriptions on one channel, several channels in one message, state, echo, acknowledged flow."""

from typing import Any

import pytest

from offhook import Event, Filter, Gap, Message, Own
from simulated import World, at, message, open_world


def data(events: list[Event]) -> list[Any]:
    return [event.data for event in events if isinstance(event, Message)]


def gaps(events: list[Event]) -> list[str]:
    return [event.reason for event in events if isinstance(event, Gap)]


def answers(world: World, asked: dict[str, Any], offset: int = 7, *, live: bool = True) -> None:
    """The server answers the requested subscriptions."""
    target = {name: asked[name] for name in ("channel", "filter", "subscription") if name in asked}
    number = {"id": asked["id"]} if "id" in asked else {}
    world.says(type="subscribed", **number, **target, position=at(offset), live=live)


def test_a_second_subscription_on_a_channel_has_a_number_and_each_gets_its_own_messages() -> None:
    world = open_world()
    numbers = [world.subscribes(), world.subscribes(since="start")]
    first, second = world.sent()
    assert "subscription" not in first
    assert (second["channel"], second["subscription"], second["since"]) == ("chat", 0, "start")
    answers(world, first)
    answers(world, second, live=False)
    world.says(**message(7), subscription=0)
    world.says(**message(8))
    assert [data(world.takes(number)) for number in numbers] == [["m8"], ["m7"]]


def test_each_subscription_ends_separately() -> None:
    world = open_world()
    first, second = world.subscribes(), world.subscribes()
    world.sent()
    world.core.unsubscribe(second)
    asked = world.sent_one("unsubscribe")
    assert (asked["subscription"], "channel" in asked) == (0, False)
    assert world.core.following(first) is not None
    assert world.core.following(second) is None


def test_a_filter_gets_the_messages_of_all_its_channels_and_continues_after_the_last() -> None:
    world = open_world()
    number = world.subscribes(Filter("sensors/+"))
    asked = world.sent_one("subscribe")
    assert (asked["filter"], asked["subscription"], "channel" in asked) == ("sensors/+", 0, False)
    answers(world, asked, 100)
    world.says(**message(4, "warm", "sensors/a"), subscription=0, at=at(101))
    world.says(**message(1, "cold", "sensors/b"), subscription=0, at=at(102))
    world.says(
        type="gap",
        filter="sensors/+",
        channel="sensors/a",
        subscription=0,
        **{"from": at(4)},
        to=at(9),
        reason="damaged",
    )
    events = world.takes(number)
    assert (data(events), gaps(events)) == (["warm", "cold"], ["damaged"])
    following = world.core.following(number)
    assert following is not None
    assert following.handled == at(102)
    world.loses()
    world.welcomes()
    again = world.sent_one("subscribe")
    assert (again["since"], again["filter"], again["subscription"]) == (at(102), "sensors/+", 0)


def test_a_gap_of_a_whole_filter_changes_its_position() -> None:
    world = open_world()
    number = world.subscribes(Filter("sensors/+"), since="start")
    asked = world.sent_one("subscribe")
    answers(world, asked, 100, live=False)
    world.says(**message(4, "warm", "sensors/a"), subscription=0, at=at(90))
    gap = {"type": "gap", "filter": "sensors/+", "subscription": 0}
    world.says(**gap, **{"from": at(90)}, to="18.60", reason="diverged", agreed="18.60")
    world.takes(number)
    following = world.core.following(number)
    assert following is not None
    assert following.handled == "18.60"
    world.loses()
    world.welcomes()
    assert world.sent_one("subscribe")["since"] == "18.60"


def test_numbered_subscriptions_restored_by_a_token_are_awaited_with_positions_by_number() -> None:
    world = open_world()
    number = world.subscribes(Filter("sensors/#"))
    asked = world.sent_one("subscribe")
    answers(world, asked, 100)
    world.says(type="token", resume="v1.second")
    world.loses()
    connect = world.welcomes()
    assert (connect["positions"], connect["subscription_positions"]) == ({}, {"0": at(100)})
    assert world.sent() == []
    del asked["id"]
    answers(world, asked, 100)
    assert len(world.takes(number)) == 2


def test_an_unwanted_restored_subscription_is_ended_by_its_number() -> None:
    world = open_world()
    number = world.subscribes(Filter("sensors/#"))
    asked = world.sent_one("subscribe")
    answers(world, asked, 100)
    world.says(type="token", resume="v1.second")
    world.loses()
    world.core.unsubscribe(number)
    world.welcomes()
    del asked["id"]
    answers(world, asked, 100)
    assert world.sent_one("unsubscribe")["subscription"] == 0


def test_several_channels_are_requested_with_one_message_and_answered_separately() -> None:
    world = open_world()
    numbers = [world.subscribes(channel, since="start", presence=True) for channel in "abc"]
    asked = world.sent_one("subscribe")
    first = asked.pop("id")
    expected = {"type": "subscribe", "channels": ["a", "b", "c"], "since": "start", "positions": {}, "presence": True}
    assert asked == expected
    answers(world, {"id": first + 2, "channel": "c"})
    world.refuses({"id": first + 1}, "forbidden", "never")
    states = [following.phase.value if (following := world.core.following(number)) else None for number in numbers]
    assert states == ["asked", "ended", "live"]
    world.core.hurry(world.now)
    assert world.sent_one("ping")["id"] == first + 3


def test_after_a_loss_similar_subscriptions_are_requested_together_each_from_its_position() -> None:
    world = open_world()
    for channel in ("a", "b"):
        world.is_live(channel)
    world.subscribes("c", presence=True)
    world.subscribes("a", echo=False)
    world.sent()
    world.loses()
    world.welcomes()
    together, alone, second = world.sent()
    assert (together["channels"], together["positions"]) == (["a", "b"], {"a": at(7), "b": at(7)})
    assert (alone["channel"], alone["presence"]) == ("c", True)
    assert (second["channel"], second["subscription"], second["echo"]) == ("a", 0, False)


def test_at_most_256_channels_are_requested_with_one_message() -> None:
    world = open_world()
    for number in range(300):
        world.subscribes(f"c{number}")
    assert [len(asked["channels"]) for asked in world.sent()] == [256, 44]


def test_an_unsubscribe_in_between_keeps_its_place() -> None:
    world = open_world()
    number = world.is_live("a")
    world.subscribes("b")
    world.core.unsubscribe(number)
    world.subscribes("a")
    assert [message.get("channel") or message.get("channels") for message in world.sent()] == ["b", "a", "a"]


def test_state_comes_first_and_again_after_a_loss_until_the_stream_continues() -> None:
    world = open_world()
    number = world.subscribes("prices", since="state")
    asked = world.sent_one("subscribe")
    assert asked["since"] == "state"
    answers(world, asked, 9, live=False)
    for offset in (2, 7):
        world.says(**message(offset, offset, "prices"), state=True)
    events = world.takes(number)
    following = world.core.following(number)
    assert following is not None
    assert (data(events), following.handled) == ([2, 7], None)
    world.loses()
    world.welcomes()
    again = world.sent_one("subscribe")
    assert again["since"] == "state"
    answers(world, again, 9, live=False)
    world.says(**message(2, 2, "prices"), state=True)
    world.says(type="gap", channel="prices", **{"from": at(0)}, to=at(9), reason="state")
    world.says(**message(10, 10, "prices"))
    events = world.takes(number)
    assert (data(events), gaps(events), following.handled) == ([2, 10], ["state"], at(10))


def test_without_echo_own_messages_come_as_own_and_count_for_continuity() -> None:
    world = open_world()
    number = world.subscribes(echo=False)
    asked = world.sent_one("subscribe")
    assert asked["echo"] is False
    answers(world, asked)
    world.says(type="own", channel="chat", position=at(8), previous=at(7))
    world.says(**message(9))
    events = world.takes(number)
    assert events[1] == Own("chat", at(8), at(7))
    assert (data(events), gaps(events)) == (["m9"], [])


class Jobs:
    """A subscription with a window that is live at 7."""

    def __init__(self, **more: Any) -> None:
        self.world = open_world()
        self.number = self.world.subscribes(**{"target": "jobs", "window": 3, **more})
        self.asked = self.world.sent_one("subscribe")
        answers(self.world, self.asked, live="since" not in more)
        self.events: list[Event] = []

    def comes(self, *offsets: int, **more: Any) -> None:
        for offset in offsets:
            self.world.says(**message(offset, None, "jobs"), subscription=0, **more)
        self.events += self.world.takes(self.number)

    def done(self, offset: int, *, cumulative: bool = False) -> None:
        one = next(event for event in self.events if isinstance(event, Message) and event.position == at(offset))
        self.world.core.done(self.number, one, cumulative, self.world.now)
        self.world.settle()

    def told(self) -> list[tuple[str, bool]]:
        """The acknowledgements received by the server, which answers them."""
        told = self.world.sent()
        for one in told:
            self.world.says(type="done", id=one["id"], subscription=0, channel="jobs")
        return [(one["position"], one.get("cumulative", False)) for one in told if one["type"] == "done"]

    def returns(self) -> dict[str, Any]:
        """The connection is lost and reopened; returns what is requested."""
        self.world.loses()
        self.world.welcomes()
        return self.world.sent_one("subscribe")

    @property
    def position(self) -> str | None:
        following = self.world.core.following(self.number)
        assert following is not None
        return following.handled


def test_messages_are_acknowledged_separately_or_cumulatively() -> None:
    jobs = Jobs()
    assert (jobs.asked["window"], jobs.asked["subscription"]) == (3, 0)
    jobs.comes(8, 9, 10)
    jobs.done(10)
    jobs.done(9, cumulative=True)
    assert jobs.told() == [(at(10), False), (at(9), True)]


def test_the_position_is_the_one_up_to_which_everything_is_acknowledged() -> None:
    jobs = Jobs()
    jobs.comes(8, 9, 10)
    assert jobs.position == at(7)
    jobs.done(9)
    assert jobs.position == at(7)
    jobs.done(8)
    assert jobs.position == at(9)
    jobs.done(10)
    assert jobs.position == at(10)


def test_without_a_token_it_continues_after_acknowledged_messages_without_repetitions() -> None:
    jobs = Jobs()
    jobs.comes(8, 9, 10)
    jobs.done(9)
    assert jobs.told() == [(at(9), False)]
    again = jobs.returns()
    assert (again["since"], again["window"]) == (at(7), 3)
    answers(jobs.world, again, 11, live=False)
    jobs.comes(8, 9, 10, 11)
    assert data(jobs.events) == ["m8", "m9", "m10", "m11"]
    assert jobs.told() == [(at(9), False)]
    jobs.done(8)
    assert jobs.told() == [(at(8), False)]
    assert gaps(jobs.events) == []


def test_redelivery_by_a_token_may_have_holes_of_acknowledged_messages() -> None:
    jobs = Jobs()
    jobs.comes(8, 9, 10)
    jobs.world.says(type="token", resume="v1.second")
    jobs.done(9)
    jobs.told()
    jobs.world.loses()
    jobs.world.welcomes()
    del jobs.asked["id"]
    answers(jobs.world, jobs.asked, 12, live=False)
    # The last one was in flight when the connection was lost.
    jobs.comes(8, 10, 11, redelivered=1)
    jobs.comes(12)
    assert data(jobs.events) == ["m8", "m9", "m10", "m11", "m12"]
    assert gaps(jobs.events) == []


def test_an_acknowledgement_without_a_connection_sets_the_start_of_the_next_one() -> None:
    jobs = Jobs()
    jobs.comes(8)
    jobs.world.ends()
    jobs.done(8)
    jobs.world.passes(1.0)
    jobs.world.welcomes()
    assert jobs.world.sent_one("subscribe")["since"] == at(8)


def test_a_temporarily_refused_acknowledgement_is_repeated_on_the_same_connection_only() -> None:
    jobs = Jobs()
    jobs.comes(8, 9)
    for _ in range(256):
        jobs.world.core.ask({"type": "presence", "channel": "jobs"}, jobs.world.now)
    jobs.world.sent()
    jobs.done(8)
    jobs.world.refuses(jobs.world.sent_one("done"), "rate_limited", "later", 50)
    jobs.world.passes(0.05)
    jobs.world.sent_one("done")
    jobs.done(9)
    jobs.world.refuses(jobs.world.sent_one("done"), "rate_limited", "later", 50)
    jobs.world.loses()
    jobs.world.welcomes()
    jobs.world.passes(0.1)
    assert "done" not in [message["type"] for message in jobs.world.sent()]


def test_a_gap_keeps_unacknowledged_messages_and_a_divergence_does_not() -> None:
    jobs = Jobs()
    jobs.comes(8, 9)
    again = jobs.returns()
    answers(jobs.world, again, 20, live=False)
    gap = {"type": "gap", "subscription": 0, "channel": "jobs"}
    jobs.world.says(**gap, **{"from": at(7)}, to=at(8), reason="evicted_by_size")
    jobs.comes(9)
    jobs.world.says(**gap, **{"from": at(9)}, to=at(15), reason="evicted_by_size")
    jobs.comes(16)
    assert (data(jobs.events), jobs.position) == (["m8", "m9", "m16"], at(7))
    jobs.world.says(**gap, **{"from": at(16)}, to=at(8), reason="diverged", agreed=at(8))
    jobs.world.says(**message(9, "other", "jobs") | {"position": "18.9", "previous": at(8)}, subscription=0)
    jobs.comes()
    assert data(jobs.events) == ["m8", "m9", "m16", "other"]
    jobs.done(8)
    assert jobs.position == at(8)


def test_for_a_filter_its_own_position_is_acknowledged() -> None:
    jobs = Jobs(target=Filter("jobs/+"))
    jobs.world.says(**message(4, "a", "jobs/a"), subscription=0, at=at(101))
    jobs.comes()
    jobs.done(4)
    assert (jobs.told(), jobs.position) == ([(at(101), False)], at(101))


def test_a_subscription_from_the_start_continues_before_the_first_unacknowledged_message() -> None:
    jobs = Jobs(since="start")
    jobs.comes(3, 4)
    jobs.done(4)
    assert jobs.returns()["since"] == at(2)


def test_own_messages_need_no_acknowledgement() -> None:
    jobs = Jobs(echo=False)
    jobs.world.says(type="own", subscription=0, channel="jobs", position=at(8), previous=at(7))
    jobs.comes()
    assert jobs.position == at(8)


def test_done_requires_a_window_and_is_ignored_after_the_end() -> None:
    jobs = Jobs()
    jobs.comes(8)
    plain = jobs.world.is_live("chat")
    with pytest.raises(ValueError, match="without a window"):
        jobs.world.core.done(plain, Message("chat", at(8), 1, 1), False, jobs.world.now)
    jobs.world.core.unsubscribe(jobs.number)
    jobs.world.sent()
    jobs.done(8)
    assert jobs.world.sent() == []
