"""Random lives of a client against a small model of the server: nothing lost, doubled or reordered without a word."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from offhook import Gap, Inbox, Message, OffhookError, Published, Settings, Unavailable
from offhook import position as positions
from offhook.core.following import Phase
from simulated import World


@dataclass(frozen=True)
class Publication:
    position: str
    previous: str
    data: Any
    key: str | None


class Server:
    """One channel with a lineage, and one connection."""

    def __init__(self, *, has_tokens: bool) -> None:
        self.has_tokens = has_tokens
        self.epoch = 17
        self.stream: list[Publication] = []
        self.trimmed = 0
        self.out: deque[str] = deque()
        # How many of the stream the subscriber was sent; None without a subscription.
        self.cursor: int | None = None

    @property
    def head(self) -> str:
        return self.stream[-1].position if self.stream else f"{self.epoch}.0"

    def publish(self, data: Any, key: str | None = None) -> tuple[str, bool]:
        for known in self.stream:
            if key is not None and known.key == key:
                return known.position, True
        position = f"{self.epoch}.{len(self.stream) + 1}"
        self.stream.append(Publication(position, self.head, data, key))
        return position, False

    def says(self, **fields: Any) -> None:
        self.out.append(json.dumps(fields))

    def hears(self, text: str) -> None:
        fields = json.loads(text)
        number, kind = fields["id"], fields["type"]
        if kind == "connect":
            # A session that is resumed has what its token had.
            token = fields.get("resume", "v1") if self.has_tokens else ""
            self.says(type="welcome", id=number, session="s", resume=token)
            if fields.get("resume") == "v1.with":
                self.begin(fields["positions"].get("chat", "start"), None)
                self.says(type="restored")
        elif kind == "subscribe":
            if self.cursor is not None:
                self.says(type="error", id=number, code="already_subscribed", message="", retry="never")
            else:
                self.begin(fields["since"], number)
        elif kind == "unsubscribe":
            self.cursor = None
            self.says(type="unsubscribed", id=number, channel="chat")
        elif kind == "publish":
            position, duplicate = self.publish(fields["data"], fields.get("key"))
            self.says(type="published", id=number, position=position, duplicate=duplicate)
            self.flow()
        elif kind == "ping":
            self.says(type="pong", id=number)

    def begin(self, since: str, number: int | None) -> None:
        known = {publication.position for publication in self.stream}
        gaps = []
        if since == "start":
            cursor = self.trimmed
        else:
            epoch, cursor = positions.parse(since)
            if cursor > 0 and since not in known:
                while cursor > 0 and (cursor > len(self.stream) or self.epoch_of(cursor) > epoch):
                    cursor -= 1
                agreed = self.stream[cursor - 1].position if cursor else f"{epoch}.0"
                gaps.append({"from": since, "to": agreed, "reason": "diverged", "agreed": agreed})
                since = agreed
            if cursor < self.trimmed:
                to = self.stream[self.trimmed - 1].position
                gaps.append({"from": since, "to": to, "reason": "evicted_by_size"})
                cursor = self.trimmed
        live = cursor == len(self.stream) and not gaps
        answer = {"channel": "chat", "position": self.head, "live": live}
        self.says(type="subscribed", **answer, **({} if number is None else {"id": number}))
        for gap in gaps:
            self.says(type="gap", channel="chat", **gap)
        self.cursor = cursor
        self.flow()
        if not live:
            self.says(type="live", channel="chat", position=self.head)
        if self.has_tokens:
            self.says(type="token", resume="v1.with")

    def epoch_of(self, offset: int) -> int:
        return positions.parse(self.stream[offset - 1].position)[0]

    def flow(self) -> None:
        """Sends new messages to the subscriber."""
        while self.cursor is not None and self.cursor < len(self.stream):
            it = self.stream[self.cursor]
            more = {"position": it.position, "data": it.data, "time": 1, "previous": it.previous}
            self.says(type="message", channel="chat", **more)
            self.cursor += 1


class Life:
    """A client, its server, and what its reader saw."""

    def __init__(self, *, has_tokens: bool) -> None:
        self.world = World(Settings(inbox=Inbox(count=5, patience=1.0)))
        self.server = Server(has_tokens=has_tokens)
        self.number = self.world.subscribes(since="start")
        self.seen: list[Message] = []
        self.gaps: list[tuple[int, int]] = []
        self.published: dict[int, int] = {}
        self.count = 0
        # Everything before this restore may be gone, though it was acknowledged.
        self.restores = 0
        self.is_open = False

    def connects(self) -> None:
        for _ in range(200):
            if self.world.core.state.name == "connecting" and not self.is_open:
                self.world.accepts()
                self.is_open = True
            if self.is_open:
                return
            self.world.passes(0.5)
        raise AssertionError("it does not come back")

    def delivers(self, count: int) -> None:
        """This many messages in each direction."""
        for _ in range(count):
            text = self.world.core.poll_transmit(self.world.connection, self.world.now) if self.is_open else None
            if text is not None:
                self.server.hears(text)
            if self.server.out and self.is_open and self.world.core.wants_input():
                self.world.says_text(self.server.out.popleft())
        self.world.settle()

    def reads(self, count: int) -> None:
        for _ in range(count):
            event = self.world.core.take(self.number, self.world.now)
            if isinstance(event, Message):
                self.seen.append(event)
            elif isinstance(event, Gap):
                self.gap(event)
        self.world.settle()

    def gap(self, gap: Gap) -> None:
        assert gap.reason != "unannounced", "the server announced every hole"
        if gap.agreed is not None:
            end = positions.parse(gap.agreed)[1]
            self.seen = [message for message in self.seen if positions.parse(message.position)[1] <= end]
            self.gaps = [(start, min(to, end)) for start, to in self.gaps]
        self.gaps.append((positions.parse(gap.from_)[1], positions.parse(gap.to)[1]))

    def loses(self) -> None:
        self.server.out.clear()
        self.server.cursor = None
        if self.is_open:
            self.is_open = False
            self.world.ends()

    def publishes(self) -> None:
        self.count += 1
        try:
            self.published[self.world.publishes(self.count)] = self.restores
        except Unavailable:
            raise AssertionError("so few have room") from None

    def does(self, what: str, count: int) -> None:  # noqa: C901, PLR0912 - a table of what can happen
        server = self.server
        match what:
            case "calm down":
                self.connects()
                self.delivers(30)
                self.reads(30)
            case "connect":
                self.connects()
            case "deliver":
                self.delivers(count)
            case "read":
                self.reads(count)
            case "lose":
                self.loses()
            case "publish":
                self.publishes()
            case "others publish":
                for _ in range(count):
                    self.count += 1
                    server.publish(self.count)
                server.flow()
            case "trim":
                server.trimmed = max(server.trimmed, len(server.stream) - count)
            case "restart":
                self.loses()
                server.epoch += 1
            case "restore":
                self.loses()
                server.epoch += 1
                self.restores += 1
                server.stream = server.stream[: max(server.trimmed, len(server.stream) - count)]
            case "wait":
                self.world.passes(0.4 * count)
                if self.world.core.state.name != "open" and self.is_open and not self.is_welcome():
                    self.loses()

    def is_welcome(self) -> bool:
        return self.world.connection not in {close.connection for close in self.world.closed}

    def ends_well(self) -> None:
        """Runs until nothing is pending, and compares the received messages
        with the stream.
        """
        for _ in range(100):
            if not self.is_welcome():
                self.loses()
            self.connects()
            self.server.flow()
            self.delivers(50)
            self.reads(50)
            self.world.passes(0.5)
            following = self.world.core.following(self.number)
            is_live = following is not None and following.phase is Phase.LIVE and following.is_empty
            if is_live and self.world.core.unanswered == 0 and not self.server.out:
                break
        else:
            raise AssertionError("it never catches up")
        for number, restores in self.published.items():
            result = self.world.outcomes[number]
            assert isinstance(result, Published), result
            if restores == self.restores:
                assert result.position in {publication.position for publication in self.server.stream}
        self.compares()

    def compares(self) -> None:
        stream = self.server.stream
        data = [publication.data for publication in stream]
        assert len(set(data)) == len(data), "a key was published twice"
        seen = {message.position for message in self.seen}
        assert len(seen) == len(self.seen), "a message was given twice"
        offsets = [positions.parse(message.position)[1] for message in self.seen]
        assert offsets == sorted(offsets), "messages were reordered"
        assert seen <= {publication.position for publication in stream}, "a message is no longer of the stream"
        announced = {offset for start, to in self.gaps for offset in range(start + 1, to + 1)}
        began = min(offsets, default=len(stream) + 1)
        for offset, publication in enumerate(stream, 1):
            if offset >= began:
                assert publication.position in seen or offset in announced, f"{publication} was lost silently"


CLIENT = ["calm down", "calm down", "connect", "deliver", "deliver", "read", "read", "publish", "wait"]
SERVER = ["lose", "others publish", "trim", "restart", "restore"]
OPERATIONS = st.lists(st.tuples(st.sampled_from(CLIENT + SERVER), st.integers(1, 9)), min_size=20, max_size=60)


# Each of these lives is long.
@settings(max_examples=40)
@given(OPERATIONS, st.booleans())
def test_nothing_is_lost_repeated_or_reordered_silently(operations: list[tuple[str, int]], tokens: bool) -> None:
    life = Life(has_tokens=tokens)
    for what, count in operations:
        life.does(what, count)
        assert not any(isinstance(warning, OffhookError) for warning in life.world.warnings)
    life.ends_well()
