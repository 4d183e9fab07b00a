"""mosquitto_pub and mosquitto_sub, unmodified, over TCP: mosquitto.py TCP_PORT. Prints a line for each check; the line
`kill` makes the caller kill and restart the server."""

from __future__ import annotations

import select
import subprocess
import sys
import traceback
from pathlib import Path

PATIENCE = 30
PAGE = Path(__file__).resolve().parents[3] / "docs" / "dialects" / "mqtt.md"


def publish(port: str, version: str, *arguments: str) -> None:
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-V", version, *arguments]
    subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True)


def receive(port: str, version: str, count: int, *arguments: str) -> list[str]:
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-V", version, "-C", str(count), "-W", str(PATIENCE), *arguments]
    done = subprocess.run(command, check=True, timeout=2 * PATIENCE, capture_output=True, text=True)
    return done.stdout.splitlines()


def documented(port: str) -> None:
    """Runs the commands at the start of docs/dialects/mqtt.md; only the port is added."""
    block = PAGE.read_text().split("```sh\n")[1].split("```")[0]
    commands = [line.removesuffix(" &") for line in block.splitlines() if line.startswith("mosquitto_")]
    subscribe, publish = [["bash", "-c", "exec " + line.replace(" -t", f" -p {port} -t", 1)] for line in commands]
    with subprocess.Popen(subscribe, stdout=subprocess.PIPE, text=True) as running:
        # The subscription may start after the first message.
        for _ in range(100):
            subprocess.run(publish, check=True, timeout=PATIENCE)
            if select.select([running.stdout], [], [], 0.3)[0]:
                break
        assert running.stdout.readline() == 'sensors/kitchen {"celsius":21.5}\n'
        running.terminate()
    print("ok mosquitto: the commands of the documentation", flush=True)


def main(port: str) -> None:
    documented(port)
    for version in ("mqttv311", "mqttv5"):
        topic = f"mosquitto/{version}"
        # Creates a session and leaves it: -E exits after the SUBACK.
        persistent = ["-i", f"session {version}", "-c", "-q", "2", "-t", f"{topic}/#"]
        if version == "mqttv5":
            persistent += ["-x", "3600"]
        subprocess.run(
            ["mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-V", version, "-E", *persistent], check=True, timeout=PATIENCE
        )
        publish(port, version, "-t", f"kept/{topic}", "-m", "kept", "-r", "-q", "1")
        assert receive(port, version, 1, "-t", "kept/mosquitto/+", "-v") == [f"kept/{topic} kept"]
        publish(port, version, "-t", f"kept/{topic}", "-n", "-r", "-q", "1")
        print(f"ok mosquitto {version}: a retained message", flush=True)
        for qos in ("0", "1", "2"):
            publish(port, version, "-t", f"{topic}/b", "-m", f"qos {qos}", "-q", qos)
        print("kill", flush=True)
        # mosquitto_pub gives up immediately while the server restarts, so it is started again until it succeeds.
        for _ in range(100):
            try:
                publish(port, version, "-t", f"{topic}/b", "-m", "after the kill", "-q", "2")
                break
            except subprocess.CalledProcessError:
                continue
        got = receive(port, version, 4, *persistent, "-F", "%p %r")
        assert got == ["qos 0 0", "qos 1 0", "qos 2 0", "after the kill 0"], got
        print(f"ok mosquitto {version}: a session gets its messages after the server was killed", flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BaseException:
        print("failed: " + " | ".join(traceback.format_exc().strip().splitlines()[-4:]), flush=True)
        print("done", flush=True)
        raise
