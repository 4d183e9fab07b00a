// Where in a channel's stream: "epoch.offset". Within an epoch each offset is one more than the one before.

function parse(position) {
  const dot = position.lastIndexOf('.');
  return { epoch: position.slice(0, dot), offset: Number(position.slice(dot + 1)) };
}

/** How a position stands to the one before: `next`, `repeated`, or `hole`. */
export function step(before, position) {
  if (before === undefined) return 'next';
  const [a, b] = [parse(before), parse(position)];
  if (a.epoch !== b.epoch) return 'hole';
  if (b.offset <= a.offset) return 'repeated';
  return b.offset === a.offset + 1 ? 'next' : 'hole';
}

/** The position so many messages earlier, or that of the beginning. */
export function back(position, count) {
  const { epoch, offset } = parse(position);
  return `${epoch}.${Math.max(0, offset - count)}`;
}

/** How many messages of its epoch a position has before and with it. */
export function offsetOf(position) {
  return parse(position).offset;
}

export function sameEpoch(a, b) {
  return parse(a).epoch === parse(b).epoch;
}
