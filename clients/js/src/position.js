// Positions in a channel's stream: "epoch.offset". Offsets rise over the whole life of a stream. A new epoch begins with
// each start of the server's log, at the next offset.

function parse(position) {
  const [epoch, offset] = position.split('.');
  return [epoch, Number(offset)];
}

/** How a message continues from the position before it: `next`, `repeated`, or `hole`. */
export function step(before, { position, previous }) {
  if (before === undefined || previous === before) return 'next';
  const [[epochBefore, offsetBefore], [epoch, offset]] = [parse(before), parse(position)];
  if (epoch !== epochBefore) return 'hole';
  if (offset <= offsetBefore) return 'repeated';
  // The server leaves `previous` out when it is the offset before in the same epoch.
  return previous === undefined && offset === offsetBefore + 1 ? 'next' : 'hole';
}

/** The position that a message follows if the server names none: one offset earlier in the same epoch. */
export function oneBefore(position) {
  const [epoch, offset] = parse(position);
  return `${epoch}.${Math.max(0, offset - 1)}`;
}

/** Whether `a` is earlier than `b`, as far as offsets say. */
export function isBefore(a, b) {
  return parse(a)[1] < parse(b)[1];
}
