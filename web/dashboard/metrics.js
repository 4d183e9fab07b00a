// Reads /metrics, and calculates rates and latencies from two readings.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})? (\S+)/;
const LABEL = /(\w+)="([^"]*)"/g;

/** One reading of /metrics. */
export class Reading {
  #samples = new Map();

  /** @param at when it was read, in milliseconds of a clock that does not jump */
  constructor(text, at) {
    this.at = at;
    for (const line of text.split('\n')) {
      const found = LINE.exec(line);
      if (!found) continue;
      const [, name, labels = '', value] = found;
      const sample = { labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, key, text]) => [key, text])), value: Number(value) };
      if (!this.#samples.has(name)) this.#samples.set(name, []);
      this.#samples.get(name).push(sample);
    }
  }

  all(name) {
    return this.#samples.get(name) ?? [];
  }

  /** The sum over all labels; none if there is no such metric. */
  value(name) {
    const samples = this.#samples.get(name);
    return samples?.reduce((sum, { value }) => sum + value, 0);
  }
}

/** By how much a counter grew per second. None if it started anew in between. One that is not there has counted nothing. */
export function rate(older, newer, name) {
  const [before, after] = [older, newer].map((reading) => reading?.value(`${name}_total`) ?? 0);
  const elapsed = (newer.at - (older?.at ?? newer.at)) / 1000;
  if (elapsed <= 0 || after < before) return undefined;
  return (after - before) / elapsed;
}

/**
 * The duration that this share of the values between two readings did not exceed, in seconds: interpolated within a
 * bucket, as Prometheus does. None if there were no values.
 */
export function quantile(older, newer, name, share) {
  const before = new Map((older?.all(`${name}_bucket`) ?? []).map(({ labels, value }) => [labels.le, value]));
  const buckets = newer.all(`${name}_bucket`).map(({ labels, value }) => [Number(labels.le === '+Inf' ? Infinity : labels.le), value - (before.get(labels.le) ?? 0)]);
  const total = buckets.at(-1)?.[1] ?? 0;
  if (!older || !(total > 0)) return undefined;
  const wanted = share * total;
  let [lower, counted] = [0, 0];
  for (const [upper, cumulative] of buckets) {
    if (cumulative >= wanted) {
      if (upper === Infinity) return lower;
      const within = cumulative - counted;
      return within > 0 ? lower + ((upper - lower) * (wanted - counted)) / within : upper;
    }
    [lower, counted] = [upper, cumulative];
  }
  return lower;
}
