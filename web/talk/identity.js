// The name of this tab's user. Each tab is another person, so that one person can try the chat.

const ADJECTIVES = ['Amber', 'Brisk', 'Calm', 'Clever', 'Dapper', 'Early', 'Gentle', 'Golden', 'Jolly', 'Keen', 'Lucky', 'Mellow', 'Nimble', 'Quiet', 'Rosy', 'Sunny', 'Tidy', 'Witty'];
const ANIMALS = ['Badger', 'Bison', 'Crane', 'Dolphin', 'Falcon', 'Fox', 'Gecko', 'Heron', 'Ibex', 'Lynx', 'Magpie', 'Otter', 'Owl', 'Panda', 'Puffin', 'Robin', 'Seal', 'Wren'];
const LONGEST = 30;

const pick = (words) => words[Math.floor(Math.random() * words.length)];
const read = (key) => sessionStorage.getItem(`talk:${key}`);
const write = (key, value) => sessionStorage.setItem(`talk:${key}`, value);

export function myName() {
  const known = read('name');
  if (known) return known;
  const made = `${pick(ADJECTIVES)} ${pick(ANIMALS)}`;
  write('name', made);
  return made;
}

export function rename(name) {
  write('name', tidy(name));
}

/** Whatever somebody sent as a name, made fit to be shown. */
export function tidy(name) {
  const text = typeof name === 'string' ? name.replace(/\s+/g, ' ').trim() : '';
  return [...text].slice(0, LONGEST).join('') || 'Somebody';
}

/** The sessions that this tab has had: a reload may begin a new one. */
export function mySessions() {
  return new Set(JSON.parse(read('sessions') ?? '[]'));
}

export function addSession(session) {
  write('sessions', JSON.stringify([...mySessions(), session].slice(-20)));
}

export const initials = (name) => name.split(' ').map((word) => [...word][0]).slice(0, 2).join('').toUpperCase();

/** A hue for each name, far from those of similar names. */
export function hue(name) {
  let sum = 7;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 65_537;
  // The golden angle.
  return Math.round(sum * 137.508) % 360;
}
