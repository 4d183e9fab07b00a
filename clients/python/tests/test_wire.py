"""The parser: the specification's own examples, and whatever anybody else sends."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook import BadMessage, Gap, Live, Message, OffhookError, Own, Refused, TimedOut, Unavailable
from offhook import position as positions
from offhook.payload import decode, encode, write
from offhook.wire import Answer, Delivered, Failure, GoAway, SubscribedTo, Welcome, parse

SPECIFICATION = Path(__file__).parents[3] / "docs" / "protocol.md"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
POSITIONS = st.builds(lambda epoch, offset: f"{epoch}.{offset}", *[st.integers(0, 2**53 - 1)] * 2)


def examples() -> list[str]:
    page = SPECIFICATION.read_text()
    page = page[page.index("## From the server") :]
    return [part.split("```")[0].strip() for part in page.split("```json\n")[1:]]


def test_the_specification_has_examples() -> None:
    assert len(examples()) > 15


@pytest.mark.parametrize("text", examples())
def test_every_message_of_the_specification_is_parsed(text: str) -> None:
    for line in text.splitlines():
        assert parse(line) is not None


def test_a_message_has_all_its_fields() -> None:
    fields = {"user": "ann", "session": "s1", "key": "k", "tags": {"a": "b"}, "time": 7}
    text = json.dumps({"type": "message", "channel": "chat", "position": "17.3", "data": {"x": [1]}, **fields})
    expected = Message("chat", "17.3", {"x": [1]}, 7, "ann", "s1", "k", {"a": "b"}, "17.2")
    assert parse(text) == Delivered("chat", expected)


def test_a_message_of_a_numbered_subscription_has_the_subscriptions_position() -> None:
    fields = {"subscription": 7, "at": "17.90", "state": True, "redelivered": 2, "time": 7}
    answer = parse(json.dumps({"type": "message", "channel": "a/b", "position": "17.3", "data": 1, **fields}))
    assert isinstance(answer, Delivered)
    assert isinstance(answer.event, Message)
    assert (answer.key, answer.event.place, answer.event.is_state, answer.event.redelivered) == (7, "17.90", True, 2)


def test_events_of_a_filter_have_the_filter_as_their_channel() -> None:
    own = '{"type":"own","filter":"a/+","subscription":7,"channel":"a/b","position":"17.9","previous":"17.7",'
    own += '"at":"17.90"}'
    assert parse(own) == Delivered(7, Own("a/b", "17.9", "17.7", "17.90"))
    live = '{"type":"live","filter":"a/+","subscription":7,"position":"17.9"}'
    assert parse(live) == Delivered(7, Live("a/+", "17.9"))
    subscribed = '{"type":"subscribed","id":1,"filter":"a/+","subscription":7,"position":"17.9","live":true}'
    assert parse(subscribed) == SubscribedTo(1, 7, "a/+", "17.9", True)
    gap = '{"type":"gap","filter":"a/+","subscription":7,"channel":"a/b","from":"1.2","to":"1.4","reason":"damaged"}'
    assert parse(gap) == Delivered(7, Gap("a/b", "1.2", "1.4", "damaged", is_partial=True))
    whole = '{"type":"gap","filter":"a/+","subscription":7,"from":"1.2","to":"1.4","reason":"epoch_changed"}'
    assert parse(whole) == Delivered(7, Gap("a/+", "1.2", "1.4", "epoch_changed"))


@given(st.text())
def test_any_text_is_a_message_or_a_bad_message(text: str) -> None:
    with contextlib.suppress(BadMessage):
        parse(text)


TYPES = [json.loads(text.splitlines()[0]) for text in examples()]


@given(st.sampled_from(TYPES), st.data())
def test_any_changed_message_is_a_message_or_a_bad_message(message: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(message)))
    changed = dict(message)
    if data.draw(st.booleans()):
        del changed[name]
    else:
        changed[name] = data.draw(JSON)
    text = json.dumps(changed)
    cut = data.draw(st.integers(0, len(text)))
    with contextlib.suppress(BadMessage):
        parse(text)
    with contextlib.suppress(BadMessage):
        parse(text[:cut])


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"message","channel":"c","position":"17.1","data":NaN,"time":1}',
        '{"type":"message","channel":"c","position":"17.1","data":1,"time":1e400}',
        '{"type":"message","channel":"c","position":"17.1","base64":"*","time":1}',
        '{"type":"message","channel":"c","position":"17.1","time":1}',
        '{"type":"message","channel":"c","position":"17","data":1,"time":1}',
        '{"type":"message","channel":"c","position":"017.1","data":1,"time":1}',
        '{"type":"message","channel":"c","position":"17.99999999999999999","data":1,"time":1}',
        '{"type":"message","channel":"c","position":"\u0661\u0667.1","data":1,"time":1}',
        '{"type":"message","channel":7,"position":"17.1","data":1,"time":1}',
        '{"type":"message","channel":"c","position":"17.1","data":1,"time":true}',
        '{"type":"message","channel":"c","position":"17.1","data":1,"time":1,"tags":{"a":1}}',
        '{"type":"pong","id":-1}',
        '{"type":"pong","id":' + "9" * 5_000 + "}",
        '{"type":"members","channel":"c","members":{},"total":1}',
        '{"type":"reconnect","after_ms":"soon"}',
        '{"type":"subscribed","channel":"c","position":"17.1","live":"yes"}',
    ],
)
def test_anything_that_the_protocol_forbids_is_a_bad_message(text: str) -> None:
    with pytest.raises(BadMessage):
        parse(text)


def test_too_deep_nesting_is_a_bad_message() -> None:
    with pytest.raises(BadMessage):
        parse('{"type":"message","data":' + "[" * 1_000_000)


@pytest.mark.parametrize(
    ("code", "retry", "kind"),
    [
        ("forbidden", "never", Refused),
        ("busy", "later", Unavailable),
        ("draining", "reconnect", Unavailable),
        ("timed_out", "later", TimedOut),
        ("of_a_newer_server", "perhaps", Refused),
    ],
)
def test_errors_have_the_class_for_what_to_do(code: str, retry: str, kind: type[OffhookError]) -> None:
    answer = parse(json.dumps({"type": "error", "id": 1, "code": code, "message": "no", "retry": retry}))
    assert isinstance(answer, Answer)
    assert isinstance(answer.result, Failure)
    error = answer.result.error
    assert type(error) is kind
    assert (error.code, error.message, str(error)) == (code, "no", f"{code}: no")


def test_times_are_seconds() -> None:
    assert parse('{"type":"reconnect","after_ms":2750}') == GoAway(2.75)
    answer = parse('{"type":"error","code":"busy","message":"","retry":"later","retry_after_ms":250}')
    assert isinstance(answer, Answer)
    assert isinstance(answer.result, Failure)
    assert answer.result.error.retry_after == 0.25


def test_optional_fields_may_be_missing() -> None:
    assert parse('{"type":"welcome","id":1,"session":"s"}') == Welcome(1, "s", None, "")
    gap = '{"type":"gap","channel":"c","from":"1.2","to":"3.4","reason":"of a newer server"}'
    assert parse(gap) == Delivered("c", Gap("c", "1.2", "3.4", "of a newer server"))


@given(JSON | st.binary())
def test_data_round_trips(data: Any) -> None:
    try:
        text = write(encode(data))
    except ValueError:
        # Half a character.
        assert any(0xD800 <= ord(character) < 0xE000 for character in repr(data) + json.dumps(data, ensure_ascii=False))
        return
    assert decode(json.loads(text)) == data


@given(POSITIONS)
def test_a_message_follows_the_position_before_it(position: str) -> None:
    _, offset = positions.parse(position)
    if offset > 0:
        assert positions.step(positions.before(position), positions.before(position), position) == "next"
        assert positions.step(position, positions.before(position), position) == "repeated"


@given(POSITIONS, POSITIONS)
def test_a_message_that_neither_follows_nor_repeats_is_a_hole(received: str, position: str) -> None:
    (epoch, offset), (had_epoch, had_offset) = positions.parse(position), positions.parse(received)
    previous = positions.before(position)
    step = positions.step(received, previous, position)
    if epoch == had_epoch:
        expected = "repeated" if offset <= had_offset and received != previous else "hole"
        assert step == ("next" if received == previous else expected)
    else:
        assert step == ("next" if had_offset == 0 and offset <= 1 else "hole")
