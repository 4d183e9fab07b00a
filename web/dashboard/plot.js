// A plot of the last minutes: one or two lines in an SVG, and what they say in words.

import { element, shape } from './dom.js';
import { bytes, clock } from './format.js';

/** What is kept, and shown, of each line. */
export const SHOWN_MS = 5 * 60_000;

const [WIDTH, HEIGHT] = [300, 80];

export class Plot {
  /** Each entry: `{ at, values }`; a value that is not known is undefined. */
  #entries = [];
  #paths;
  #now = element('strong', {});
  #top = element('span', { className: 'top' });
  #marker = shape('line', { class: 'marker', y1: 0, y2: HEIGHT, visibility: 'hidden' });
  #pointed;

  /** @param lines the names of the lines, the first of which stands for all */
  constructor(title, format, lines = ['']) {
    [this.title, this.format, this.lines] = [title, format, lines];
    this.ceiling = format === bytes ? ceilingOfBytes : ceiling;
    this.#paths = lines.map((_, index) => shape('path', { class: `line-${index}`, 'vector-effect': 'non-scaling-stroke' }));
    this.svg = shape('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title }, ...this.#paths, this.#marker);
    const names = lines.map((name, index) => element('span', { className: `legend line-${index}` }, name));
    this.element = element('figure', { className: 'plot' },
      element('figcaption', {}, element('span', {}, title), this.#now, lines.length > 1 ? element('span', { className: 'legends' }, ...names) : undefined),
      element('div', { className: 'canvas' }, this.#top, this.svg));
    this.svg.addEventListener('pointermove', ({ offsetX }) => this.#point(offsetX / this.svg.clientWidth));
    this.svg.addEventListener('pointerleave', () => this.#point(undefined));
  }

  push(at, ...values) {
    this.#entries.push({ at, values });
    while (this.#entries[0].at < at - SHOWN_MS) this.#entries.shift();
    this.#draw();
  }

  /** Smallest, largest and newest value of each line, as text. */
  get summary() {
    return this.lines.map((name, index) => {
      const known = this.#entries.map(({ values }) => values[index]).filter((value) => value !== undefined);
      const last = this.#entries.at(-1)?.values[index];
      const shown = (value) => (known.length === 0 || value === undefined ? 'none' : this.format(value));
      return [name ? `${this.title}, ${name}` : this.title, shown(last), shown(Math.min(...known)), shown(Math.max(...known))];
    });
  }

  #draw() {
    const end = this.#entries.at(-1).at;
    const x = (at) => WIDTH - ((end - at) / SHOWN_MS) * WIDTH;
    const most = this.ceiling(Math.max(0, ...this.#entries.flatMap(({ values }) => values.filter((value) => value !== undefined))));
    const y = (value) => HEIGHT - 2 - (most === 0 ? 0 : (value / most) * (HEIGHT - 6));
    this.#paths.forEach((path, index) => path.setAttribute('d', line(this.#entries, index, x, y)));
    this.#top.textContent = most === 0 ? '' : this.format(most);
    this.svg.setAttribute('aria-label', this.summary.map(([name, now, least, largest]) => `${name}: ${now} now, ${least} to ${largest} in the last five minutes`).join('; '));
    this.#say();
  }

  #point(share) {
    this.#pointed = share;
    this.#say();
  }

  /** Shows the newest values, or those under the pointer. */
  #say() {
    const end = this.#entries.at(-1);
    // The pointer can be there before the first figures, or without any, if they need a key.
    if (end === undefined) return;
    const wanted = this.#pointed === undefined ? undefined : end.at - (1 - this.#pointed) * SHOWN_MS;
    const entry = wanted === undefined ? end : this.#entries.reduce((best, one) => (Math.abs(one.at - wanted) < Math.abs(best.at - wanted) ? one : best));
    const texts = entry.values.map((value) => (value === undefined ? '–' : this.format(value)));
    this.#now.textContent = texts.join(' · ') + (wanted === undefined ? '' : ` at ${clock(Date.now() - (end.at - entry.at))}`);
    this.#marker.setAttribute('visibility', wanted === undefined ? 'hidden' : 'visible');
    const x = WIDTH - ((end.at - entry.at) / SHOWN_MS) * WIDTH;
    this.#marker.setAttribute('x1', x);
    this.#marker.setAttribute('x2', x);
  }
}

/** The path of one line. It is interrupted where nothing is known. */
export function line(entries, index, x, y) {
  let [path, isOpen] = ['', false];
  for (const { at, values } of entries) {
    const value = values[index];
    if (value !== undefined) path += `${isOpen ? 'L' : 'M'}${x(at).toFixed(1)} ${y(value).toFixed(1)}${isOpen ? '' : 'h0.1'}`;
    isOpen = value !== undefined;
  }
  return path;
}

/** The next larger number of the kind 1, 2, 5, 10. */
export function ceiling(value) {
  if (!(value > 0)) return 0;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999_999);
}

/** The same in the unit in which bytes are shown. */
export function ceilingOfBytes(value) {
  const unit = 1024 ** Math.max(0, Math.floor(Math.log2(value) / 10));
  return ceiling(value / unit) * unit || 0;
}
