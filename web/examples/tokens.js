// An answer, token by token. The channel is the source of truth: a page shows its content, and a generator that
// restarts continues after the last token in it. Each token has a key, so it is safe to send one twice.

import { byId, open } from './shared.js';

const CHANNEL = 'examples-tokens';
/** 40 ms: 25 tokens a second, as a model speaks. */
const EVERY = 40;
const WORDS = `Each message in a channel has a position , and the server stores it . A client that reconnects names
the last position that it handled , and receives everything after it , in order and once . So an answer can be read
while it is written , from any tab , and a reload in the middle loses nothing : earlier tokens are in the channel ,
and later ones will be delivered . Messages that are no longer retained are reported as a gap , with the reason .`.split(/\s+/);

const client = open();
const answers = new Map();

// Always from the start, because a reloaded page is empty.
client.forget(CHANNEL);
const room = client.subscribe(CHANNEL, { since: { last: 2_000 } });
room.on('message', ({ data }) => take(data));
room.on('subscribed', ({ live }) => live && goOn());
room.on('live', () => goOn());

function take({ answer, question, number, token, end }) {
  if (typeof answer !== 'string') return;
  let it = answers.get(answer);
  if (!it) answers.set(answer, (it = { ...show(answer), tokens: 0 }));
  if (question !== undefined) it.title.textContent = question;
  // The server forgets the keys of a lost session: tokens that arrive a second time are recognised by their
  // number.
  if (token !== undefined && number === it.tokens) {
    it.tokens += 1;
    it.text.append(token);
  }
  it.section.dataset.state = end ? 'whole' : 'streaming';
  it.section.dataset.tokens = it.tokens;
}

function show(answer) {
  const section = document.createElement('section');
  const [title, text] = [document.createElement('h2'), document.createElement('p')];
  section.className = 'answer';
  section.id = `answer-${answer}`;
  section.append(title, text);
  byId('answers').prepend(section);
  byId('empty').hidden = true;
  return { section, title, text };
}

// The generator, in place of a backend. Its task is in the tab's storage, so that it survives a reload.

const job = () => JSON.parse(sessionStorage.getItem('examples:job') ?? 'null');
let isGenerating = false;

byId('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  const question = byId('question').value.trim();
  if (question === '' || job()) return;
  byId('question').value = '';
  const answer = Array.from(crypto.getRandomValues(new Uint32Array(2)), (number) => number.toString(36)).join('');
  sessionStorage.setItem('examples:job', JSON.stringify({ answer, question }));
  publish({ answer, question }, 'question');
  goOn();
});

/** Everything that is in the channel has been seen: the generator knows where it stopped. */
function goOn() {
  if (!job() || isGenerating) return;
  isGenerating = true;
  const { answer } = job();
  // Tokens that were in flight before a reload may also be in the channel.
  const unsent = client.unsent.filter(({ data }) => data.answer === answer && data.token !== undefined);
  let next = Math.max(answers.get(answer)?.tokens ?? 0, ...unsent.map(({ data }) => data.number + 1));
  const timer = setInterval(() => {
    if (next < WORDS.length) publish({ answer, number: next, token: spaced(next) }, next++);
    else {
      clearInterval(timer);
      publish({ answer, end: true }, 'end');
      sessionStorage.removeItem('examples:job');
      isGenerating = false;
    }
  }, EVERY);
}

function publish(data, part) {
  client.publish(CHANNEL, data, { key: `${data.answer}-${part}` }).catch(() => {});
}

function spaced(number) {
  const word = WORDS[number];
  return number === 0 || /^[.,:]$/.test(word) ? word : ` ${word}`;
}
