"""Subscriptions that the server's side makes for the session."""

import pytest

from offhook import Event, Message
from simulated import World, at, message, open_world


def made(world: World, offset: int) -> None:
    world.says(type="subscribed", channel="news", position=at(offset), live=True, by="server")


def data(events: list[Event]) -> list[object]:
    return [event.data for event in events if isinstance(event, Message)]


def test_a_subscription_that_the_server_makes_is_read_and_restored_like_others() -> None:
    world = open_world()
    made(world, 7)
    assert world.sent() == [], "it is not given back"
    [notice] = world.made
    world.says(**message(8, channel="news"))
    assert data(world.takes(notice.subscription)) == ["m8"]
    world.says(type="token", resume="v1.second")
    world.loses()
    world.welcomes()
    world.says(type="subscribed", channel="news", position=at(9), live=False)
    world.says(**message(9, channel="news"))
    assert world.sent() == []
    assert data(world.takes(notice.subscription)) == ["m9"]
    world.core.unsubscribe(notice.subscription)
    assert world.sent_one("unsubscribe")["channel"] == "news"


def test_a_subscription_that_the_server_makes_and_nobody_reads_is_kept() -> None:
    world = open_world()
    made(world, 7)
    world.core.ignore(world.made[0].subscription)
    world.says(**message(8, channel="news"))
    world.says(type="token", resume="v1.second")
    world.loses()
    world.welcomes()
    world.says(type="subscribed", channel="news", position=at(8), live=True)
    assert world.sent() == [], "it is kept when it is restored"
    world.says(type="unsubscribed", channel="news", code="forbidden", message="", retry="never")
    world.says(type="subscribed", channel="news", position=at(8), live=True)
    assert world.sent_one("unsubscribe")["channel"] == "news", "this one is a leftover"


@pytest.mark.parametrize(("since", "sent"), [("now", []), ("start", ["unsubscribe", "subscribe"])])
def test_a_client_that_subscribes_while_the_server_does_begins_where_it_wanted(since: str, sent: list[str]) -> None:
    world = open_world()
    world.subscribes("news", since=since)
    asked = world.sent_one("subscribe")
    made(world, 7)
    world.says(type="error", id=asked["id"], code="already_subscribed", message="", retry="never")
    assert [each["type"] for each in world.sent()] == sent
    assert world.made == []
