"""Opening, detecting the end, waiting, and ends that rule out reconnecting."""

import pytest

from offhook import Backoff, Closed, Heartbeat, OffhookError, Refused, Settings
from offhook.core import End
from simulated import World, open_world


def pauses(world: World, count: int) -> list[float]:
    """The wait after each loss, if every attempt fails."""
    seen = []
    for _ in range(count):
        lost_at, before = world.now, len(world.opened)
        world.ends()
        while len(world.opened) == before:
            due = world.core.poll_timeout()
            assert due is not None
            world.passes(due - world.now)
        seen.append(round(world.now - lost_at, 3))
    return seen


def test_pauses_are_random_below_a_bound_that_doubles_up_to_the_maximum() -> None:
    assert pauses(World(chance=1.0), 7) == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert pauses(World(chance=0.5), 3) == [0.25, 0.5, 1.0]
    assert pauses(World(chance=0.0), 3) == [0.0, 0.0, 0.0]


def test_a_hundred_failed_attempts_do_not_overflow() -> None:
    assert set(pauses(World(chance=1.0), 100)[10:]) == {10.0}


def test_a_short_connection_does_not_reset_the_bound() -> None:
    world = World(chance=1.0)
    for _ in range(4):
        world.welcomes()
        world.passes(4.9)
        world.loses()
    assert [state.retry_in for state in world.states if state.name == "waiting"] == [0.5, 1.0, 2.0, 4.0]


def test_each_stable_connection_resets_the_bound() -> None:
    world = World(chance=1.0)
    for _ in range(3):
        world.loses()
        world.loses()
        world.welcomes()
        world.passes(5.0)
        world.loses()
    waits = [state.retry_in for state in world.states if state.name == "waiting"]
    assert waits == [0.5, 1.0, 0.5, 0.5, 1.0, 0.5, 0.5, 1.0, 0.5]


def test_a_connection_that_does_not_open_in_time_is_abandoned_and_another_is_tried() -> None:
    world = World()
    world.passes(9.99)
    assert world.closed == []
    world.passes(0.01)
    assert [close.connection for close in world.closed] == [world.opened[0]]
    world.passes(10.0)
    assert len(world.opened) == 2


def test_messages_of_an_older_connection_are_ignored() -> None:
    world = World()
    first = world.connection
    world.passes(10.0)
    world.passes(10.0)
    assert world.connection != first
    world.core.handle_opened(first, None, world.now)
    assert world.core.poll_transmit(first, world.now) is None
    world.welcomes()
    world.core.handle_received(first, '{"type":"closing","reason":"flood"}', world.now)
    world.core.handle_lost(first, End(1008), world.now)
    assert world.core.state.name == "open"


@pytest.mark.parametrize("code", [1001, 1003, 1005, 1006, 1010, 1011, 1012, 1013, 1014, 4000, 4999])
def test_a_temporary_close_reconnects(code: int) -> None:
    world = open_world()
    world.ends(code)
    assert world.core.state.name == "waiting"
    assert isinstance(world.core.state.error, OffhookError)


@pytest.mark.parametrize("code", [1002, 1007, 1008, 4001, 4002, 4003])
def test_a_final_close_does_not_reconnect_and_reports_the_reason(code: int) -> None:
    world = open_world()
    publication = world.publishes("hi")
    number = world.is_live() if world.sent() else 0
    world.ends(code, reason="because")
    state = world.core.state
    assert state.name == "closed"
    assert isinstance(state.error, Closed)
    assert state.error.code == {4001: "replaced", 4003: "expired"}.get(code, "closed")
    assert world.outcomes[publication] is state.error
    following = world.core.following(number)
    assert following is not None
    assert following.error is state.error
    world.passes(600.0)
    assert len(world.opened) == 1
    with pytest.raises(Closed):
        world.publishes("more")
    assert world.core.poll_timeout() is None


def test_an_expired_identity_reconnects_if_the_next_token_is_a_new_one() -> None:
    world = open_world(renews_token=True)
    world.says(type="closing", reason="expired")
    world.loses(4003)
    assert world.core.state.name == "connecting"
    assert "resume" not in world.welcomes(), "what resumes the session has expired, too"


def test_a_new_token_is_fetched_before_the_old_one_expires_if_there_is_a_source() -> None:
    for renews, wanted in ((True, 1), (False, 0)):
        world = open_world(renews_token=renews)
        world.says(type="expiring", expires_in_ms=60_000)
        assert world.tokens_wanted == wanted
    request = world.core.refresh("jwt-2", world.now)
    asked = world.sent_one("refresh")
    assert asked["token"] == "jwt-2"
    world.says(type="refreshed", id=asked["id"], expires_in_ms=3_600_000)
    assert request in world.outcomes


def test_data_sent_to_this_session_by_the_backend_is_an_event() -> None:
    world = open_world()
    world.says(type="told", data={"text": "shipped"})
    world.says(type="told", base64="AP8=")
    assert [told.data for told in world.told] == [{"text": "shipped"}, b"\x00\xff"]


def test_1000_from_the_server_is_an_end_and_not_an_error() -> None:
    world = open_world()
    world.ends(1000)
    assert (world.core.state.name, world.core.state.error) == ("closed", None)


def test_an_end_that_the_driver_reports_as_final_is_final() -> None:
    world = World()
    world.ends(1006, is_final=True, reason="HTTP 403")
    assert world.core.state.name == "closed"
    assert "HTTP 403" in str(world.core.state.error)


def test_retry_after_of_the_handshake_is_respected_even_on_reconnect() -> None:
    world = World()
    world.ends(1006, at_least=7.0)
    assert world.core.state.retry_in == 7.0
    world.core.hurry(world.now)
    world.passes(6.9)
    assert len(world.opened) == 1
    world.passes(0.1)
    assert len(world.opened) == 2


def test_too_slow_reconnects_and_a_flood_reconnects_after_half_a_minute() -> None:
    world = open_world()
    world.says(type="closing", reason="too_slow")
    world.loses(1008)
    world.welcomes()
    world.says(type="closing", reason="flood")
    world.ends(1008)
    assert world.core.state.retry_in == 30.0
    world.core.hurry(world.now)
    world.settle()
    assert world.core.state.name == "waiting"
    world.passes(30.0)
    # It applied to that connection: the next 1008 is final.
    world.welcomes()
    world.ends(1008)
    assert world.states[-1].name == "closed"


def test_the_pause_named_by_a_stopping_server_is_never_shortened() -> None:
    world = open_world()
    world.says(type="reconnect", after_ms=2_750)
    world.passes(0.75)
    world.ends(1012)
    assert world.core.state.retry_in == pytest.approx(2.0)
    world.core.hurry(world.now)
    world.passes(1.99)
    assert len(world.opened) == 1
    world.passes(0.01)
    assert len(world.opened) == 2


def test_a_server_that_names_a_pause_and_stays_is_left_when_the_pause_ends() -> None:
    world = open_world()
    world.says(type="reconnect", after_ms=2_750)
    world.passes(2.75)
    # Not 1000, which would end the session.
    assert [close.code for close in world.closed] == [4000]
    assert len(world.opened) == 2
    # The next connection has no such moment.
    world.welcomes()
    world.passes(20.0)
    assert len(world.opened) == 2


def test_a_temporarily_refused_connect_is_repeated_at_the_time_of_the_server() -> None:
    world = World()
    world.accepts()
    world.refuses(world.sent_one("connect"), "too_many_connections", "later", 5_000)
    assert world.core.state.retry_in == 5.0


def test_a_finally_refused_connect_closes_the_client() -> None:
    world = World()
    world.accepts("expired")
    connect = world.sent_one("connect")
    assert connect["token"] == "expired"
    world.refuses(connect, "bad_token", "never")
    assert world.core.state.name == "closed"
    assert isinstance(world.core.state.error, Refused)
    assert len(world.closed) == 1


def test_a_dead_connection_is_detected_by_its_silence() -> None:
    world = open_world()
    for round_trip in (0.25, 0.5):
        world.passes(25.0)
        ping = world.sent_one("ping")
        world.passes(round_trip)
        world.says(type="pong", id=ping["id"])
        assert world.core.latency == pytest.approx(round_trip)
    world.passes(25.0)
    world.sent_one("ping")
    world.passes(9.99)
    assert world.closed == []
    world.passes(0.01)
    assert len(world.closed) == 1
    assert world.core.state.name == "waiting"


def test_a_pong_to_an_older_ping_is_not_measured() -> None:
    world = open_world()
    world.passes(25.0)
    ping = world.sent_one("ping")
    before = world.core.latency
    world.says(type="pong", id=ping["id"] + 7)
    assert world.core.latency == before


def test_a_connection_that_receives_is_not_pinged() -> None:
    world = open_world()
    for _ in range(10):
        world.passes(20.0)
        world.says(type="token", resume="v1.x")
    assert world.sent() == []


def test_a_server_that_accepts_and_sends_nothing_is_abandoned() -> None:
    world = World()
    world.accepts()
    world.sent_one("connect")
    world.passes(10.0)
    assert len(world.closed) == 1


def test_after_sleep_the_connection_is_pinged_immediately_and_abandoned_soon() -> None:
    world = open_world()
    world.sleeps(3_600.0)
    world.sent_one("ping")
    world.passes(3.9)
    assert world.closed == []
    world.passes(0.1)
    assert len(world.closed) == 1


def test_sleep_while_an_answer_is_due_does_not_count_as_silence() -> None:
    world = open_world()
    world.passes(25.0)
    world.sent_one("ping")
    world.sleeps(3_600.0)
    world.says(type="pong", id=world.sent_one("ping")["id"])
    world.passes(20.0)
    assert world.closed == []


def test_reconnect_ends_a_wait_and_pings_an_open_connection() -> None:
    world = World(chance=1.0)
    world.ends()
    world.core.hurry(world.now)
    world.settle()
    assert len(world.opened) == 2
    world.welcomes()
    world.core.hurry(world.now)
    world.sent_one("ping")
    world.passes(4.0)
    assert len(world.closed) == 1


def test_closing_sends_1000_once_and_ends_everything() -> None:
    world = open_world()
    number = world.is_live()
    question = world.core.ask({"type": "presence", "channel": "chat"}, world.now)
    world.core.close()
    world.core.close()
    world.settle()
    assert [close.code for close in world.closed] == [1000]
    assert isinstance(world.outcomes[question], Closed)
    following = world.core.following(number)
    assert following is not None
    assert (following.phase.value, following.error) == ("ended", None)
    assert [state.name for state in world.states] == ["connecting", "open", "closed"]


def test_closing_while_connecting_cancels_the_attempt() -> None:
    world = World()
    world.core.close()
    world.settle()
    assert [close.connection for close in world.closed] == world.opened
    world.passes(600.0)
    assert len(world.opened) == 1


def test_an_unreadable_message_is_a_warning_and_ends_nothing() -> None:
    world = open_world()
    for text in ("{", "null", "7", "[]", "{}", '{"type":7}', '{"type":"message"}', b"\x00", "[" * 100_000):
        world.says_text(text)
    assert [warning.code for warning in world.warnings] == ["bad_message"] * 9
    world.says_text('{"type":"of a newer server"}')
    assert len(world.warnings) == 9
    assert world.core.state.name == "open"


def test_an_unrequested_answer_is_ignored() -> None:
    world = open_world()
    for kind in ("welcome", "published", "history", "received", "acked", "error", "pong"):
        fields = {"position": "17.1", "messages": [], "head": "17.1", "received": 0, "subscribers": 0}
        more = {"session": "s2", "code": "busy", "message": "", "channel": "chat", "resume": "v1.stolen"}
        world.says(type=kind, id=99, **fields, **more)
    assert world.core.session == "s1"
    world.says(type="error", code="bad_request", message="what?")
    assert [warning.code for warning in world.warnings] == ["bad_request"]


def test_the_settings_are_used() -> None:
    settings = Settings(backoff=Backoff(first=3.0, cap=4.0, stable=1.0), heartbeat=Heartbeat(every=2.0, within=1.0))
    world = World(settings, chance=1.0)
    assert pauses(world, 3) == [3.0, 4.0, 4.0]
    world.welcomes()
    world.passes(2.0)
    world.sent_one("ping")
    world.passes(1.0)
    assert len(world.closed) == 1


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Backoff\.first is 0; it must be greater than 0"):
        Backoff(first=0)
    with pytest.raises(ValueError, match=r"Settings\.max_size is -1"):
        Settings(max_size=-1)
