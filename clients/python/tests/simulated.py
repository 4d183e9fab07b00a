"""A core in simulated time, and the server's part of the conversation."""

from __future__ import annotations

import json
import random
from typing import Any

from offhook import Event, Filter, Last, Latency, OffhookError, Settings, State, Told, Warned
from offhook.core import Close, Core, End, Open
from offhook.core.core import Notice, Outcome, Ready, SubscriptionMade, SubscriptionTokenWanted, TokenWanted
from offhook.core.following import Wish


def at(offset: int) -> str:
    """A position in the one epoch that most tests need."""
    return f"17.{offset}"


def message(offset: int, data: Any = None, channel: str = "chat", **more: Any) -> dict[str, Any]:
    data = f"m{offset}" if data is None else data
    return {"type": "message", "channel": channel, "position": at(offset), "data": data, "time": 1, **more}


class Chance(random.Random):
    """Randomness that always returns the same value."""

    def __init__(self, value: float) -> None:
        super().__init__(1)
        self._value = value

    def random(self) -> float:
        return self._value


class World:
    """One client, the time, and the test in place of the server."""

    def __init__(
        self, settings: Settings | None = None, *, chance: float = 0.5, info: Any = None, **more: bool
    ) -> None:
        self.core = Core(settings or Settings(), Chance(chance), info, **more)
        self.now = 1_000.0
        self.states: list[State] = []
        self.warnings: list[OffhookError] = []
        self.latencies: list[float] = []
        self.told: list[Told] = []
        self.tokens_wanted = 0
        self.made: list[SubscriptionMade] = []
        self.subscription_tokens: list[SubscriptionTokenWanted] = []
        self.outcomes: dict[int, Any] = {}
        self.ready: list[int] = []
        self.opened: list[int] = []
        self.closed: list[Close] = []
        self.core.handle_start(self.now)
        self.settle()

    @property
    def connection(self) -> int:
        """The newest connection that the core requested."""
        return self.opened[-1]

    def settle(self) -> None:
        """Acts as the driver."""
        while (action := self.core.poll_action()) is not None:
            if isinstance(action, Open):
                self.opened.append(action.connection)
            else:
                self.closed.append(action)
        while (notice := self.core.poll_notice()) is not None:
            self._hears(notice)

    def _hears(self, notice: Notice) -> None:
        match notice:
            case Outcome(request, result):
                assert request not in self.outcomes, "an answer comes once"
                self.outcomes[request] = result
            case Ready(number):
                self.ready.append(number)
            case State():
                self.states.append(notice)
            case Latency(seconds):
                self.latencies.append(seconds)
            case Told():
                self.told.append(notice)
            case SubscriptionTokenWanted():
                self.subscription_tokens.append(notice)
            case SubscriptionMade():
                self.made.append(notice)
            case TokenWanted():
                self.tokens_wanted += 1
            case Warned(error):
                self.warnings.append(error)

    def passes(self, seconds: float) -> None:
        """Lets time pass, with every timeout at its moment."""
        end = self.now + seconds
        for _ in range(10_000):
            due = self.core.poll_timeout()
            if due is None or due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            self.core.handle_timeout(self.now)
            self.settle()
        raise AssertionError("its timeouts never end")

    def sleeps(self, seconds: float) -> None:
        """The machine sleeps: timeouts in the meantime are handled late."""
        self.now += seconds
        self.core.handle_timeout(self.now)
        self.settle()

    def accepts(self, token: str | None = None) -> None:
        """The newest connection opens."""
        self.core.handle_opened(self.connection, token, self.now)
        self.settle()

    def sent(self) -> list[dict[str, Any]]:
        """Everything that the core sends while the connection takes it."""
        texts: list[dict[str, Any]] = []
        while (text := self.core.poll_transmit(self.connection, self.now)) is not None:
            texts.append(json.loads(text))
            assert len(texts) < 10_000, "it never stops sending"
        self.settle()
        return texts

    def sent_one(self, kind: str) -> dict[str, Any]:
        sent = self.sent()
        assert [text["type"] for text in sent] == [kind]
        return sent[0]

    def says(self, **fields: Any) -> None:
        """The server sends a message."""
        self.says_text(json.dumps(fields))

    def says_text(self, text: str | bytes) -> None:
        self.core.handle_received(self.connection, text, self.now)
        self.settle()

    def ends(self, code: int = 1006, **more: Any) -> None:
        """The connection ends."""
        self.core.handle_lost(self.connection, End(code, **more), self.now)
        self.settle()

    def welcomes(self, **more: Any) -> dict[str, Any]:
        """The newest connection opens, and the server welcomes it; returns the
        ``connect``.
        """
        self.accepts()
        connect = self.sent_one("connect")
        self.says(**{"type": "welcome", "id": connect["id"], "session": "s1", "resume": "v1.first", **more})
        return connect

    def loses(self, code: int = 1006) -> None:
        """The connection is lost, and the wait is over."""
        before = len(self.opened)
        self.ends(code)
        while len(self.opened) == before:
            assert self.core.state.name == "waiting", "it does not come back"
            self.passes(0.1)

    def subscribes(self, target: str | Filter = "chat", since: str | Last = "now", **more: Any) -> int:
        number = self.core.subscribe(Wish(target, since, **more))
        self.settle()
        return number

    def is_live(self, channel: str = "chat", offset: int = 7) -> int:
        """A subscription that is live at an offset, its first event taken."""
        number = self.subscribes(channel)
        asked = self.sent_one("subscribe")
        self.says(type="subscribed", id=asked["id"], channel=channel, position=at(offset), live=True)
        self.takes(number)
        return number

    def takes(self, number: int) -> list[Event]:
        """All events that wait, and then one more question, as a loop asks it."""
        events = []
        while (event := self.core.take(number, self.now)) is not None:
            events.append(event)
        self.settle()
        return events

    def publishes(self, data: Any, channel: str = "chat", **more: Any) -> int:
        options = {"key": None, "tags": None, "is_queued": True, "is_ordered": True, **more}
        request = self.core.publish(channel, data, now=self.now, **options)
        self.settle()
        return request

    def published(self, sent: dict[str, Any], offset: int = 1, **more: Any) -> None:
        self.says(type="published", id=sent["id"], position=at(offset), **more)

    def refuses(self, sent: dict[str, Any], code: str, retry: str, after_ms: int | None = None) -> None:
        after = {} if after_ms is None else {"retry_after_ms": after_ms}
        self.says(type="error", id=sent["id"], code=code, message="no", retry=retry, **after)


def open_world(settings: Settings | None = None, **more: Any) -> World:
    """A client that the server has welcomed."""
    world = World(settings, **more)
    world.welcomes()
    return world
