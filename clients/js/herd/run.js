// Prints how long 5,000 clients take to reconnect, with the former and the present waits. `node clients/js/herd/run.js`

import { BACKOFF } from '../src/backoff.js';
import { BEFORE, comeBack, GATE } from './herd.js';

const seconds = (ms) => `${(ms / 1_000).toFixed(1)} s`;
const rows = [];
for (const gate of [GATE, { perSecond: 500, burst: 500 }]) {
  for (const outage of [4_000, 60_000, 600_000]) {
    for (const [waits, backoff] of [['1 s to 30 s', BEFORE], ['0.5 s to 10 s', BACKOFF]]) {
      const { back, reached } = comeBack({ clients: 5_000, outage, backoff, gate });
      const at = (part) => seconds(back[Math.ceil(back.length * part) - 1]);
      rows.push({ gate: `${gate.perSecond}/s`, outage: seconds(outage), waits, median: at(0.5), '95 %': at(0.95), all: at(1), attempts: reached });
    }
  }
}
console.table(rows);
