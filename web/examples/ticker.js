// A channel without history, conflated by the tag `key`: only the newest price
// of each symbol matters.

import { byId, open } from './shared.js';

const CHANNEL = 'examples-live:ticker';
const SYMBOLS = ['ALDER', 'BIRCH', 'CEDAR', 'ELM', 'HAZEL', 'LARCH', 'MAPLE', 'ROWAN'];
/** 25 ms: 40 prices a second, below the 50 publications that a server takes of one session by default. */
const EVERY = 25;

const client = open();
const rows = new Map();
const reasons = new Map();
let count = 0;

const room = client.subscribe(CHANNEL);
room.on('message', ({ data, tags }) => {
  count += 1;
  show(tags.key, data);
});
room.on('gap', ({ reason }) => {
  reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  byId('gaps').textContent = [...reasons.values()].reduce((sum, gaps) => sum + gaps);
  byId('reasons').textContent = `(${[...reasons.keys()].join(', ').replaceAll('_', ' ')})`;
});
setInterval(() => {
  byId('rate').textContent = count;
  count = 0;
}, 1_000);

function show(symbol, { price, change }) {
  const row = rows.get(symbol) ?? newRow(symbol);
  const [, priceCell, changeCell] = row.cells;
  priceCell.textContent = price.toFixed(2);
  changeCell.textContent = `${change < 0 ? '▼' : '▲'} ${Math.abs(change).toFixed(2)}`;
  changeCell.className = change < 0 ? 'down' : 'up';
}

function newRow(symbol) {
  // Sorted by name, in whatever order symbols appear.
  const before = [...rows.keys()].filter((other) => other < symbol).length;
  const row = byId('prices').insertRow(before);
  row.insertCell().textContent = symbol;
  row.insertCell();
  row.insertCell();
  rows.set(symbol, row);
  byId('empty').hidden = true;
  return row;
}

// The market runs in the tab where it was started.

const market = new Map(SYMBOLS.map((symbol, number) => [symbol, { price: 40 + 17 * number, change: 0 }]));
let timer;
let turn = 0;

function tick() {
  const symbol = SYMBOLS[turn++ % SYMBOLS.length];
  const { price } = market.get(symbol);
  const change = (Math.random() - 0.5) * price * 0.01;
  market.set(symbol, { price: price + change, change });
  // Dropped if it cannot be sent now: when the connection is back, there will
  // be a newer price.
  client.publish(CHANNEL, market.get(symbol), { tags: { key: symbol }, queue: false }).catch(() => {});
}

byId('market').addEventListener('click', () => {
  if (timer === undefined) timer = setInterval(tick, EVERY);
  else {
    timer = clearInterval(timer);
    // The closing prices wait for a connection, so that every tab ends with the
    // same prices.
    for (const [symbol, data] of market) client.publish(CHANNEL, data, { tags: { key: symbol } }).catch(() => {});
  }
  byId('market').setAttribute('aria-pressed', String(timer !== undefined));
  byId('market').textContent = timer === undefined ? 'Start the market' : 'Close the market';
});
