// MQTT in, browser out: devices publish with MQTT, and the panel subscribes to
// the channels of the same names. A click on a lamp sends a message in the other direction.

import { Device } from './mqtt.js';
import { byId, open } from './shared.js';

const ROOMS = ['kitchen', 'attic', 'cellar', 'garden'];
const reports = (room) => `examples-iot/${room}`;
const commands = (room) => `examples-iot-set/${room}`;

// Without a store: after a reload, the panel starts with the state again.
const client = open({ store: undefined });
const rows = new Map(ROOMS.map((room) => [room, newRow(room)]));

for (const [number, channel] of client.subscribe(ROOMS.map(reports), { since: 'state' }).entries()) {
  channel.on('message', ({ data }) => show(ROOMS[number], data));
}

/** Shows a report: any device may publish anything. */
function show(room, report) {
  const { online, celsius, lamp } = Object(report);
  const { row, lampButton } = rows.get(room);
  const [, device, temperature] = row.cells;
  row.dataset.device = online === false ? 'offline' : 'online';
  device.textContent = row.dataset.device;
  device.className = online === false ? 'down' : 'up';
  if (Number.isFinite(celsius)) temperature.textContent = `${celsius.toFixed(1)} °C`;
  lampButton.disabled = false;
  if (typeof lamp === 'boolean') {
    lampButton.setAttribute('aria-pressed', String(lamp));
    label(lampButton, room, lamp ? 'on' : 'off');
  }
}

/** The name for screen readers has to contain the visible text. */
function label(lampButton, room, text) {
  lampButton.textContent = text;
  lampButton.setAttribute('aria-label', `Lamp in the ${room}: ${text}`);
}

function newRow(room) {
  const row = byId('rooms').insertRow();
  for (const text of [room, 'no device', '–']) row.insertCell().textContent = text;
  const lampButton = document.createElement('button');
  lampButton.className = 'quiet';
  lampButton.disabled = true;
  label(lampButton, room, 'off');
  lampButton.setAttribute('aria-pressed', 'false');
  lampButton.addEventListener('click', () => {
    const lamp = lampButton.getAttribute('aria-pressed') !== 'true';
    // The lamp is shown as on once its device reports it.
    client.publish(commands(room), { lamp }).catch(() => {});
  });
  row.insertCell().append(lampButton);
  row.dataset.room = room;
  byId('room').add(new Option(room));
  return { row, lampButton };
}

// The device, which speaks only MQTT.

/** How often it reports, in milliseconds. */
const EVERY = 1_000;

/** A client id for this tab, under which the server keeps the device's session. */
const deviceId = sessionStorage.getItem('examples:device') ?? `device-${crypto.getRandomValues(new Uint32Array(2)).join('-')}`;
sessionStorage.setItem('examples:device', deviceId);

let running;

function start(room) {
  let celsius = 19 + 4 * Math.random();
  let lamp = false;
  const device = new Device({
    url: new URL('../mqtt', location.href.replace(/^http/, 'ws')).href,
    name: `${deviceId}-${room}`,
    will: [reports(room), JSON.stringify({ online: false })],
    commands: commands(room),
    onMessage(text) {
      lamp = text === JSON.stringify({ lamp: true });
      report();
    },
    onState(isConnected) {
      byId('mqtt').textContent = isConnected ? 'connected' : 'connecting';
    },
  });
  const report = () => device.publish(reports(room), JSON.stringify({ online: true, celsius, lamp }));
  const timer = setInterval(() => {
    celsius += (Math.random() - 0.5) / 4;
    report();
  }, EVERY);
  report();
  return () => {
    clearInterval(timer);
    device.publish(reports(room), JSON.stringify({ online: false }));
    device.end();
    byId('mqtt').textContent = 'off';
  };
}

byId('device').addEventListener('click', () => {
  if (running) running = running();
  else running = start(byId('room').value);
  byId('device').setAttribute('aria-pressed', String(running !== undefined));
  byId('device').textContent = running ? 'Stop the device' : 'Start the device';
  byId('room').disabled = running !== undefined;
});
