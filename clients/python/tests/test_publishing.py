"""Publications, over as many connections as necessary."""

from typing import Any

import pytest

from offhook import Outbox, Published, Refused, Settings, TimedOut, Unavailable
from simulated import World, at, open_world


def take_all(world: World) -> list[dict[str, Any]]:
    """The server accepts publications, one after the other, until there are no
    more.
    """
    taken = []
    while sent := world.sent():
        for publication in sent:
            taken.append(publication)
            world.published(publication, len(taken))
    return taken


def data(sent: list[dict[str, Any]]) -> list[Any]:
    return [publication["data"] for publication in sent]


def test_a_publication_is_answered_with_its_position() -> None:
    world = open_world()
    request = world.publishes({"text": "hi"}, key="a1", tags={"lang": "en"})
    sent = world.sent_one("publish")
    rest = {"channel": "chat", "data": {"text": "hi"}, "key": "a1", "tags": {"lang": "en"}}
    assert sent == {"type": "publish", "id": sent["id"], **rest}
    world.published(sent, 8, duplicate=True)
    assert world.outcomes == {request: Published(at(8), duplicate=True)}
    assert world.core.unanswered == 0


def test_messages_published_without_a_connection_are_sent_later_in_order() -> None:
    world = World()
    requests = [world.publishes(text) for text in ("a", "b", None)]
    assert world.core.unanswered == 3
    world.welcomes()
    assert data(take_all(world)) == ["a", "b", None]
    assert [world.outcomes[request].position for request in requests] == [at(1), at(2), at(3)]


def test_unanswered_messages_are_sent_again_with_the_same_keys_on_the_next_connection() -> None:
    world = open_world()
    for channel in ("a", "b", "c"):
        world.publishes(channel, channel)
    first = world.sent()
    world.published(first[0])
    world.loses()
    world.welcomes()
    second = world.sent()
    assert [sent["key"] for sent in second] == [first[1]["key"], first[2]["key"]]
    assert second[0]["id"] != first[1]["id"]
    # The old answer is ignored.
    world.published(first[1])
    assert world.core.unanswered == 2
    world.published(second[0])
    world.published(second[1])
    assert world.core.unanswered == 0


def test_every_publication_has_its_own_key() -> None:
    world = open_world()
    for number in range(20):
        world.publishes(number, is_ordered=False)
    assert len({sent["key"] for sent in world.sent()}) == 20


def test_in_a_channel_one_message_is_in_flight_so_that_a_temporary_refusal_keeps_the_order() -> None:
    world = open_world()
    for text in ("a", "b"):
        world.publishes(text)
    first = world.sent_one("publish")
    world.refuses(first, "rate_limited", "later", 300)
    world.publishes("c")
    world.passes(0.299)
    assert world.sent() == []
    world.passes(0.001)
    second = take_all(world)
    assert data(second) == ["a", "b", "c"]
    assert second[0]["key"] == first["key"]


def test_a_temporary_refusal_without_a_time_waits_a_second() -> None:
    world = open_world()
    world.publishes("a")
    world.refuses(world.sent_one("publish"), "busy", "later")
    world.passes(0.99)
    assert world.sent() == []
    world.passes(0.01)
    assert data(world.sent()) == ["a"]


def test_other_channels_and_unordered_messages_do_not_wait() -> None:
    world = open_world()
    world.publishes("a")
    world.publishes("b")
    world.publishes("c", "other")
    world.publishes("d", is_ordered=False)
    world.publishes("e", is_queued=False)
    assert data(world.sent()) == ["a", "c", "d", "e"]


def test_at_most_the_limit_is_in_flight() -> None:
    world = open_world(Settings(outbox=Outbox(in_flight=2)))
    for number in range(5):
        world.publishes(number, is_ordered=False)
    first = world.sent()
    assert data(first) == [0, 1]
    with pytest.raises(Unavailable):
        world.publishes("now", is_queued=False)
    world.published(first[1])
    assert data(world.sent()) == [2]


def test_a_stopping_server_gets_nothing_more_on_this_connection() -> None:
    world = open_world()
    world.publishes("a")
    world.refuses(world.sent_one("publish"), "draining", "reconnect")
    world.publishes("b")
    world.passes(5.0)
    assert world.sent() == []
    world.loses()
    world.welcomes()
    assert data(take_all(world)) == ["a", "b"]


def test_a_final_refusal_fails_and_the_next_messages_continue() -> None:
    world = open_world()
    a, b = world.publishes("a"), world.publishes("b")
    world.refuses(world.sent_one("publish"), "too_large", "never")
    assert isinstance(world.outcomes[a], Refused)
    take_all(world)
    assert isinstance(world.outcomes[b], Published)


def test_a_message_that_is_not_queued_is_sent_immediately_or_not_at_all() -> None:
    world = World()
    with pytest.raises(Unavailable, match="offline"):
        world.publishes("typing", is_queued=False)
    world.welcomes()
    request = world.publishes("typing", is_queued=False)
    sent = world.sent_one("publish")
    assert "key" not in sent
    world.loses()
    assert isinstance(world.outcomes[request], TimedOut)
    world.welcomes()
    assert world.sent() == []
    # Accepted, and the connection is lost before the socket had room.
    request = world.publishes("typing", is_queued=False)
    world.loses()
    assert world.outcomes[request].code == "offline"


def test_the_queue_is_limited_by_count_and_bytes_and_gets_room_again() -> None:
    world = World(Settings(outbox=Outbox(count=3, size=400)))
    for _ in range(3):
        world.publishes("x")
    with pytest.raises(
        Unavailable, match=r"3 publications of .* bytes wait for an answer; the limit is 3 of 400 bytes"
    ):
        world.publishes("x")
    world.welcomes()
    assert len(take_all(world)) == 3
    world.publishes("é" * 100)
    with pytest.raises(Unavailable, match="queue_full"):
        world.publishes("é" * 100)
    take_all(world)
    world.publishes("é" * 100)


def test_an_unanswered_message_is_abandoned_before_the_server_forgets_its_key() -> None:
    world = open_world(Settings(outbox=Outbox(give_up_after=100.0)))
    request, later = world.publishes("a"), world.publishes("b")
    world.sent()
    world.ends()
    for _ in range(200):
        world.passes(1.0)
        if world.core.state.name == "connecting":
            world.ends()
    assert isinstance(world.outcomes[request], TimedOut)
    # Never sent, so it does not expire.
    assert later not in world.outcomes
    while world.core.state.name != "connecting":
        world.passes(1.0)
    world.welcomes()
    assert data(take_all(world)) == ["b"]


def test_a_message_that_is_too_large_for_the_server_is_not_sent_again() -> None:
    world = open_world()
    small, large = world.publishes("s", "one"), world.publishes("l" * 1_000, "two")
    world.sent()
    world.loses(1009)
    assert world.outcomes[large].code == "too_large"
    world.welcomes()
    assert data(take_all(world)) == ["s"]
    assert isinstance(world.outcomes[small], Published)
    # Nothing of ours was too large, so the end is final.
    world.ends(1009)
    assert world.core.state.name == "closed"


def test_a_message_cancelled_before_it_was_sent_is_not_published() -> None:
    world = World()
    requests = [world.publishes(text) for text in ("a", "b", "c", "d")]
    unordered = world.publishes("e", is_ordered=False)
    for request in (requests[0], requests[2], unordered):
        world.core.cancel(request)
    world.welcomes()
    assert data(take_all(world)) == ["b", "d"]
    assert world.core.unanswered == 0


def test_a_message_cancelled_after_it_was_sent_keeps_its_place_and_is_not_sent_again() -> None:
    world = open_world()
    a, b = world.publishes("a"), world.publishes("b")
    first = world.sent_one("publish")
    world.core.cancel(a)
    assert world.sent() == []
    world.published(first)
    assert data(world.sent()) == ["b"]
    world.core.cancel(b)
    world.loses()
    world.welcomes()
    assert world.sent() == []
    assert world.outcomes == {}
    assert world.core.unanswered == 0


def test_publishing_and_cancelling_repeatedly_uses_no_memory() -> None:
    world = World()
    for number in range(3_000):
        for is_ordered in (True, False):
            world.core.cancel(world.publishes(number, is_ordered=is_ordered))
    assert world.core.unanswered == 0
    world.welcomes()
    assert world.sent() == []


@pytest.mark.parametrize("bad", [float("nan"), {1, 2}, object(), "\ud800", [float("inf")]])
def test_data_that_json_cannot_represent_is_refused_immediately(bad: Any) -> None:
    world = open_world()
    with pytest.raises((TypeError, ValueError)):
        world.publishes(bad)
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ValueError, match="nested too deep"):
        world.publishes(nested)
    assert world.core.unanswered == 0
    assert world.sent() == []


def test_changing_data_after_publishing_does_not_change_the_message() -> None:
    world = World()
    value = {"n": 1}
    world.publishes(value)
    value["n"] = 2
    world.welcomes()
    assert world.sent_one("publish")["data"] == {"n": 1}
