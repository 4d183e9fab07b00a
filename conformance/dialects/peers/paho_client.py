"""paho-mqtt 2, unmodified, in both versions, over TCP and WebSocket: paho_client.py WS_PORT TCP_PORT. Prints a line for each
check; the line `kill` makes the caller kill and restart the server."""

from __future__ import annotations

import queue
import sys
import traceback

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 30


class Client:
    def __init__(self, name: str, version: int, transport: str, port: int, clean: bool = False) -> None:
        options = {} if version == mqtt.MQTTv5 else {"clean_session": clean}
        self.paho = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=version, transport=transport, **options
        )
        self.messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self.connected: queue.Queue[bool] = queue.Queue()
        self.subscribed: queue.Queue[list] = queue.Queue()
        self.paho.on_message = lambda _client, _data, message: self.messages.put(message)
        self.paho.on_connect = lambda _client, _data, flags, reason, _properties: self.connected.put(
            flags.session_present if not reason.is_failure else reason
        )
        self.paho.on_subscribe = lambda _client, _data, _id, reasons, _properties: self.subscribed.put(reasons)
        self.paho.reconnect_delay_set(1, 1)
        if transport == "websockets":
            self.paho.ws_set_options(path="/mqtt")
        arguments = {}
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 3600
            arguments = {"clean_start": clean, "properties": properties}
        self.paho.connect("127.0.0.1", port, **arguments)
        self.paho.loop_start()

    def subscribe(self, topic: str, qos: int) -> None:
        self.paho.subscribe(topic, qos)
        reasons = self.subscribed.get(timeout=PATIENCE)
        assert not any(reason.is_failure for reason in reasons), reasons

    def publish(self, topic: str, text: str, qos: int) -> None:
        self.paho.publish(topic, text, qos).wait_for_publish(PATIENCE)

    def next(self) -> str:
        return self.messages.get(timeout=PATIENCE).payload.decode()

    def next_but(self, *again: str) -> str:
        """The next message, but for those of QoS 1, which may come again."""
        while (text := self.next()) in again:
            pass
        return text

    def stop(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


def ok(what: str) -> None:
    print(f"ok {what}", flush=True)


def main(ws: int, tcp: int) -> None:
    everyone = []
    for transport, port in (("websockets", ws), ("tcp", tcp)):
        for version, words in ((mqtt.MQTTv311, "3.1.1"), (mqtt.MQTTv5, "5.0")):
            name = f"paho-mqtt {words} by {transport}"
            room = f"paho/{words}/{transport}"
            client = Client(name, version, transport, port)
            assert client.connected.get(timeout=PATIENCE) is False
            client.subscribe(f"{room}/#", 2)
            for qos in (0, 1, 2):
                client.publish(f"{room}/x", f"qos {qos}", qos)
            assert [client.next() for _ in range(3)] == ["qos 0", "qos 1", "qos 2"]
            ok(f"{name}: sends and receives all three QoS, in order")
            everyone.append((name, room, client))
    # All are connected when the server is killed, and reconnect by themselves.
    print("kill", flush=True)
    for name, room, client in everyone:
        # Published while there is no connection, or lost with it: the client sends it again.
        client.publish(f"{room}/x", "after the kill", 2)
        assert client.connected.get(timeout=PATIENCE) is True, "the session was not there"
        got = client.next_but("qos 1")
        assert got == "after the kill", got
        client.publish(f"{room}/x", "last", 2)
        assert client.next_but("qos 1") == "last"
        ok(f"{name}: continues its session after the server was killed")
        client.stop()
    print("done", flush=True)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
    except BaseException:
        print("failed: " + " | ".join(traceback.format_exc().strip().splitlines()[-4:]), flush=True)
        print("done", flush=True)
        raise
