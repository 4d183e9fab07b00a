"""Subscription tokens: a new one for each request, and again when one has expired."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

import offhook
from machine import Server, runs
from offhook import Message
from offhook.core.core import SubscriptionTokenWanted
from simulated import World, at, message, open_world

SECRET = b"a secret of thirty-two bytes...."


def wanted(world: World) -> SubscriptionTokenWanted:
    """The only token that is wanted now."""
    (only,) = world.subscription_tokens
    world.subscription_tokens.clear()
    return only


def gives(world: World, token: str | None) -> None:
    world.core.give_token(wanted(world), token)
    world.settle()


def is_live(world: World) -> int:
    """A subscription with a token, live at 7."""
    number = world.subscribes("private/7", has_token=True, renews_token=True)
    assert world.sent() == []
    gives(world, "first")
    asked = world.sent_one("subscribe")
    assert (asked["channel"], asked["token"]) == ("private/7", "first")
    world.says(type="subscribed", id=asked["id"], channel="private/7", position=at(7), live=True)
    world.takes(number)
    return number


def expires(world: World) -> None:
    world.says(type="unsubscribed", channel="private/7", code="forbidden", message="it has expired", retry="never")


def test_a_subscription_whose_token_expired_continues_with_a_new_one_where_it_was() -> None:
    world = open_world()
    number = is_live(world)
    world.says(**message(8, channel="private/7"))
    expires(world)
    assert world.subscription_tokens == [], "a server cannot make the client spin"
    world.passes(1.0)
    gives(world, "second")
    asked = world.sent_one("subscribe")
    assert (asked["token"], asked["since"]) == ("second", at(8))
    assert [event.data for event in world.takes(number) if isinstance(event, Message)] == ["m8"]
    following = world.core.following(number)
    assert following is not None
    assert following.error is None


def test_a_token_that_cannot_be_fetched_is_wanted_again_later() -> None:
    world = open_world()
    world.subscribes("private/7", has_token=True, renews_token=True)
    world.core.give_no_token(wanted(world), world.now)
    world.settle()
    assert world.subscription_tokens == []
    world.passes(1.0)
    gives(world, "here")
    assert world.sent_one("subscribe")["token"] == "here"


def test_a_token_for_an_earlier_connection_or_a_subscription_that_is_gone_is_not_used() -> None:
    world = open_world()
    number = world.subscribes("private/7", has_token=True, renews_token=True)
    early = wanted(world)
    world.loses()
    world.welcomes()
    world.core.give_token(early, "early")
    assert world.sent() == []
    late = wanted(world)
    world.core.unsubscribe(number)
    world.core.give_token(late, "late")
    assert world.sent() == []


def test_without_a_token_the_subscription_ends_and_a_fixed_one_is_not_renewed() -> None:
    world = open_world()
    number = is_live(world)
    expires(world)
    world.passes(1.0)
    gives(world, None)
    following = world.core.following(number)
    assert following is not None
    assert following.error is not None
    assert following.error.code == "unauthenticated"
    fixed = world.subscribes("private/7", has_token=True)
    gives(world, "fixed")
    asked = world.sent_one("subscribe")
    world.says(type="subscribed", id=asked["id"], channel="private/7", position=at(7), live=True)
    expires(world)
    following = world.core.following(fixed)
    assert following is not None
    assert following.error is not None
    assert following.error.code == "forbidden"


def test_each_of_several_channels_is_requested_with_its_own_token() -> None:
    world = open_world()
    for channel in ("private/1", "private/2"):
        world.subscribes(channel, has_token=True, renews_token=True)
    world.subscribes("a")
    world.subscribes("b")
    for one in world.subscription_tokens:
        world.core.give_token(one, f"for {one.channel}")
    sent = world.sent()
    assert [(one.get("channel"), one.get("channels"), one.get("token")) for one in sent] == [
        (None, ["a", "b"], None),
        ("private/1", None, "for private/1"),
        ("private/2", None, "for private/2"),
    ]


def jwt(seconds: float, **claims: Any) -> str:
    def encoded(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    claims["exp"] = int(time.time() + seconds)
    header = encoded(b'{"alg":"HS256"}')
    signed = f"{header}.{encoded(json.dumps(claims).encode())}"
    return f"{signed}.{encoded(hmac.digest(SECRET, signed.encode(), hashlib.sha256))}"


SETTINGS = f"""
[auth]
secrets = ["{SECRET.decode()}"]
leeway = "0s"

[[channels]]
pattern = "private/*"
subscribe = "granted"
"""


@runs
async def test_with_the_real_server_a_subscription_outlives_its_token_and_nothing_is_lost() -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "offhook.toml"
        file.write_text(SETTINGS)
        server = Server("--config", str(file))
        await server.start()
        fetched: asyncio.Queue[str] = asyncio.Queue()

        async def token(channel: str) -> str:
            fetched.put_nowait(channel)
            return jwt(2 if fetched.qsize() == 1 else 3_600, sub="ann", channel=channel)

        url = f"ws://127.0.0.1:{server.port}/ws"
        try:
            async with (
                offhook.connect(url, token=jwt(3_600, sub="ann"), proxy=None) as ann,
                offhook.connect(url, token=jwt(3_600, sub="ben"), proxy=None) as ben,
            ):
                orders = ann.subscribe("private/7", since="start", token=token)
                sent = 0
                # Until the token has expired and another one was fetched.
                while fetched.qsize() < 2:
                    await ben.publish("private/7", sent)
                    sent += 1
                await ben.publish("private/7", "end")
                seen: list[Any] = []
                async for event in orders:
                    assert not isinstance(event, offhook.Gap)
                    if isinstance(event, Message):
                        seen.append(event.data)
                        if event.data == "end":
                            break
                assert seen == [*range(sent), "end"]
                wrong = jwt(3_600, sub="ann", channel="private/7")
                refused = ann.subscribe("private/8", token=wrong)
                with pytest.raises(offhook.OffhookError, match="private/8"):
                    await anext(aiter(refused))
        finally:
            await server.remove()
