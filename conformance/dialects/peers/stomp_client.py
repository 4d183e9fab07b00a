"""stomp.py 9, unmodified, in all versions, over TCP and WebSocket: stomp_client.py WS_PORT TCP_PORT. Prints a line for each
check; the line `kill` makes the caller kill and restart the server."""

from __future__ import annotations

import queue
import socket
import sys
import time
import traceback

import stomp
from stomp.adapter.ws import WSStompConnection

PATIENCE = 30


class Inbox(stomp.ConnectionListener):
    def __init__(self) -> None:
        self.messages: queue.Queue = queue.Queue()
        self.receipts: queue.Queue[str] = queue.Queue()
        self.errors: queue.Queue = queue.Queue()
        self.lost: queue.Queue[bool] = queue.Queue()

    def on_message(self, frame) -> None:
        self.messages.put(frame)

    def on_receipt(self, frame) -> None:
        self.receipts.put(frame.headers["receipt-id"])

    def on_error(self, frame) -> None:
        self.errors.put(frame)

    def on_disconnected(self) -> None:
        self.lost.put(True)


class Client:
    def __init__(self, version: str, transport: str, port: int, **headers: str) -> None:
        hosts = [("127.0.0.1", port)]
        if transport == "websocket":
            self.connection = WSStompConnection(hosts, ws_path="/stomp", reconnect_attempts_max=30)
        else:
            kinds = {"1.0": stomp.Connection10, "1.1": stomp.Connection11, "1.2": stomp.Connection12}
            self.connection = kinds[version](hosts, reconnect_attempts_max=30)
        self.version, self.headers = version, headers
        self.inbox = Inbox()
        self.connection.set_listener("inbox", self.inbox)
        self.connect()

    def connect(self) -> None:
        self.connection.connect(wait=True, headers=dict(self.headers))

    def receipt(self, wanted: str) -> None:
        given = self.inbox.receipts.get(timeout=PATIENCE)
        assert given == wanted, (given, wanted)

    def subscribe(self, destination: str, ack: str = "auto", wait: bool = True, **headers: str) -> None:
        if wait:
            headers["receipt"] = "subscribed"
        self.connection.subscribe(destination, id="1", ack=ack, headers=headers)
        if wait:
            self.receipt("subscribed")

    def publish(self, destination: str, text: str, **headers: str) -> None:
        self.connection.send(destination, text, headers={**headers, "receipt": "sent"})
        self.receipt("sent")

    def next(self):
        return self.inbox.messages.get(timeout=PATIENCE)

    def ack(self, frame) -> None:
        if self.version == "1.2":
            self.connection.ack(frame.headers["ack"])
        elif self.version == "1.1":
            self.connection.ack(frame.headers["message-id"], "1")
        else:
            self.connection.ack(frame.headers["message-id"])

    def nack(self, frame) -> None:
        if self.version == "1.2":
            self.connection.nack(frame.headers["ack"])
        else:
            self.connection.nack(frame.headers["message-id"], "1")

    def stop(self) -> None:
        self.connection.disconnect(receipt="bye")
        self.receipt("bye")


def ok(what: str) -> None:
    print(f"ok {what}", flush=True)


def wait_for(*ports: int) -> None:
    """Waits until the server listens again: stomp.py cannot be stopped while it connects in vain."""
    until = time.monotonic() + PATIENCE
    for port in ports:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < until, "the server did not come back"
                time.sleep(0.05)


def talks(name: str, version: str, transport: str, port: int) -> None:
    reader, sender = Client(version, transport, port), Client(version, transport, port)
    room = f"/topic/py/{transport}/{version}"
    reader.subscribe(room)
    sender.publish(room, "grün", a="1")
    message = reader.next()
    assert (message.body, message.headers["a"], message.headers["destination"]) == ("grün", "1", room), message
    ok(f"{name}: publishes with a receipt and receives")
    if version != "1.0":
        value = "a:b\\c\nd"
        sender.publish(room, "x", strange=value)
        assert reader.next().headers["strange"] == value
        ok(f"{name}: escapes headers")
    jobs = f"/queue/py/{transport}/{version}"
    for text in ("1", "2"):
        sender.publish(jobs, text)
    worker = Client(version, transport, port)
    worker.subscribe(jobs, ack="client" if version == "1.0" else "client-individual", wait=False)
    first, second = worker.next(), worker.next()
    assert worker.inbox.receipts.empty() and (first.body, second.body) == ("1", "2")
    if version != "1.0":
        worker.nack(first)
        first = worker.next()
        assert (first.body, first.headers["redelivered"], first.headers["deliveries"]) == ("1", "true", "2")
        worker.ack(first)
    worker.ack(second)
    worker.stop()
    ok(f"{name}: consumes a queue that was filled before")
    transaction = sender.connection.begin()
    sender.connection.send(room, "3", transaction=transaction)
    sender.publish(room, "before")
    assert reader.next().body == "before"
    sender.connection.commit(transaction)
    assert reader.next().body == "3"
    ok(f"{name}: publishes a transaction when it is committed")
    reader.stop()
    sender.stop()


def beats(port: int) -> None:
    connection = stomp.Connection12([("127.0.0.1", port)], heartbeats=(1000, 1000))
    beat: queue.Queue[bool] = queue.Queue()

    class Beats(stomp.ConnectionListener):
        def on_heartbeat(self) -> None:
            beat.put(True)

    connection.set_listener("beats", Beats())
    connection.connect(wait=True)
    for _ in range(3):
        beat.get(timeout=PATIENCE)
    assert connection.is_connected()
    connection.disconnect()
    ok("stomp.py by tcp: heart-beats of the server arrive")


def fails(port: int) -> None:
    client = Client("1.2", "tcp", port)
    client.connection.send("nowhere", "x")
    error = client.inbox.errors.get(timeout=PATIENCE)
    assert error.headers["message"] == "bad destination", error
    client.inbox.lost.get(timeout=PATIENCE)
    ok("stomp.py by tcp: a violation of the protocol is an ERROR and the end")


def survives(ws: int, tcp: int) -> None:
    headers = {"client-id": "stomp.py"}
    durable = Client("1.2", "tcp", tcp, **headers)
    durable.subscribe("/topic/py-news", ack="client", durable="true")
    worker = Client("1.2", "websocket", ws)
    worker.subscribe("/queue/py-jobs", ack="client-individual")
    sender = Client("1.2", "tcp", tcp)
    for text in ("1", "2"):
        sender.publish("/topic/py-news", text)
        sender.publish("/queue/py-jobs", text)
    assert [durable.next().body for _ in range(2)] == ["1", "2"]
    assert [worker.next().body for _ in range(2)] == ["1", "2"]
    print("kill", flush=True)
    for client in (durable, worker, sender):
        client.inbox.lost.get(timeout=PATIENCE)
    wait_for(ws, tcp)
    durable, worker, sender = Client("1.2", "tcp", tcp, **headers), Client("1.2", "tcp", tcp), Client("1.2", "websocket", ws)
    durable.subscribe("/topic/py-news", ack="client", wait=False, durable="true")
    worker.subscribe("/queue/py-jobs", ack="client-individual", wait=False)
    for client, what in ((durable, "a durable subscription"), (worker, "a queue")):
        again = [client.next(), client.next()]
        assert [frame.body for frame in again] == ["1", "2"], again
        for frame in again:
            client.ack(frame)
        ok(f"stomp.py: {what} delivers again what was not acknowledged before the kill")
    sender.publish("/topic/py-news", "3")
    sender.publish("/queue/py-jobs", "3")
    assert (durable.next().body, worker.next().body) == ("3", "3")
    ok("stomp.py: goes on with the restarted server")


def main(ws: int, tcp: int) -> None:
    for version in ("1.0", "1.1", "1.2"):
        talks(f"stomp.py {version} by tcp", version, "tcp", tcp)
    talks("stomp.py 1.2 by websocket", "1.2", "websocket", ws)
    beats(tcp)
    fails(tcp)
    survives(ws, tcp)
    print("done", flush=True)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
    except Exception:
        print("failed: " + traceback.format_exc().replace("\n", " "), flush=True)
        sys.exit(1)
