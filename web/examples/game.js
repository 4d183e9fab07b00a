// Movement at 30 Hz in a channel without history, and coins in a channel with history. The first claim of a coin, in
// the order of that channel, wins it. Every player reads the same order, so all agree without a referee.

import { byId, hueOf, myName, open } from './shared.js';

const [MOVES, CLAIMS] = ['examples-live:game', 'examples-game'];
const [WIDTH, HEIGHT, SPEED, REACH] = [600, 400, 220, 22];
/** 33 ms: 30 positions a second. */
const EVERY = 33;
/** Others are drawn this much late, so that there is a position on either side. */
const DELAY = 100;

const client = open({ info: { name: myName() } });
const canvas = byId('field');
const others = new Map();
const scores = new Map();
const me = { x: WIDTH / 2, y: HEIGHT / 2 };
const keys = new Set();
let target;
let coin = 0;
let claimed = -1;

client.subscribe(MOVES).on('message', ({ session, data }) => {
  if (session === client.session) return;
  const samples = others.get(session) ?? [];
  samples.push({ x: Number(data.x), y: Number(data.y), at: performance.now() });
  others.set(session, samples.slice(-20));
});

client.forget(CLAIMS);
client.subscribe(CLAIMS, { since: 'start' }).on('message', ({ data, session }) => {
  // A later claim of the same coin comes too late.
  if (!(data.coin >= coin) || !Number.isSafeInteger(data.coin)) return;
  coin = data.coin + 1;
  const score = scores.get(session) ?? { name: String(data.name).slice(0, 30), coins: 0 };
  scores.set(session, { ...score, coins: score.coins + 1 });
  showScores();
});

/** Where a coin lies: the same for everybody. */
function placeOf(number) {
  const mix = (salt) => (Math.imul(number + 1, salt) >>> 8) % 1_000 / 1_000;
  return { x: 40 + mix(2_654_435_761) * (WIDTH - 80), y: 40 + mix(1_597_334_677) * (HEIGHT - 80) };
}

function step(seconds) {
  const held = (...names) => (names.some((name) => keys.has(name)) ? 1 : 0);
  let [dx, dy] = [held('ArrowRight', 'd') - held('ArrowLeft', 'a'), held('ArrowDown', 's') - held('ArrowUp', 'w')];
  if (dx === 0 && dy === 0 && target) [dx, dy] = [target.x - me.x, target.y - me.y];
  const length = Math.hypot(dx, dy);
  if (length > 0) {
    const way = target ? Math.min(SPEED * seconds, length) : SPEED * seconds;
    me.x = Math.min(WIDTH, Math.max(0, me.x + dx / length * way));
    me.y = Math.min(HEIGHT, Math.max(0, me.y + dy / length * way));
  }
  const place = placeOf(coin);
  if (claimed < coin && Math.hypot(place.x - me.x, place.y - me.y) < REACH) {
    claimed = coin;
    client.publish(CLAIMS, { coin, name: myName() }).catch(() => {});
  }
}

/** Between the two samples around the moment that is drawn. */
function between(samples, at) {
  const after = samples.findIndex((sample) => sample.at > at);
  if (after <= 0) return samples.at(after === 0 ? 0 : -1);
  const [a, b] = [samples[after - 1], samples[after]];
  const part = (at - a.at) / (b.at - a.at);
  return { x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part };
}

const brush = canvas.getContext('2d');
let last = performance.now();
function draw(now) {
  step(Math.min(0.1, (now - last) / 1_000));
  last = now;
  brush.setTransform(canvas.width / WIDTH, 0, 0, canvas.height / HEIGHT, 0, 0);
  brush.clearRect(0, 0, WIDTH, HEIGHT);
  const circle = ({ x, y }, radius, colour) => {
    brush.fillStyle = colour;
    brush.beginPath();
    brush.arc(x, y, radius, 0, 7);
    brush.fill();
  };
  circle(placeOf(coin), 9, 'oklch(0.78 0.16 85)');
  for (const [session, samples] of others) {
    // A player who sends nothing for five seconds has left.
    if (now - samples.at(-1).at > 5_000) others.delete(session);
    else circle(between(samples, now - DELAY), 14, `oklch(0.62 0.17 ${hueOf(session)})`);
  }
  circle(me, 14, `oklch(0.62 0.17 ${hueOf(client.session ?? '')})`);
  Object.assign(canvas.dataset, { coin, ...placeOf(coin), others: others.size });
  requestAnimationFrame(draw);
}
requestAnimationFrame(draw);

setInterval(() => client.publish(MOVES, me, { tags: { key: client.session ?? '' }, queue: false }).catch(() => {}), EVERY);

function showScores() {
  const items = [...scores].sort(([, a], [, b]) => b.coins - a.coins).map(([session, { name, coins }]) => {
    const item = document.createElement('li');
    item.textContent = `${session === client.session ? `${name} (you)` : name}: ${coins}`;
    return item;
  });
  byId('scores').replaceChildren(...items);
  byId('empty').hidden = true;
}

const NAMES = new Set(['ArrowRight', 'ArrowLeft', 'ArrowUp', 'ArrowDown', 'w', 'a', 's', 'd']);
canvas.addEventListener('keydown', (event) => {
  if (!NAMES.has(event.key)) return;
  event.preventDefault();
  target = undefined;
  keys.add(event.key);
});
addEventListener('keyup', ({ key }) => keys.delete(key));
addEventListener('blur', () => keys.clear());
for (const type of ['pointerdown', 'pointermove']) {
  canvas.addEventListener(type, ({ clientX, clientY, buttons }) => {
    if (buttons === 0) return;
    const { left, top, width, height } = canvas.getBoundingClientRect();
    target = { x: (clientX - left) / width * WIDTH, y: (clientY - top) / height * HEIGHT };
  });
}
