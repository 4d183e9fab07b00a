// The search of the documentation. The index is loaded when somebody searches.

const root = globalThis.document?.documentElement.dataset.root;

/** Results shown. 20: more are not read; the next word finds what is wanted. */
const MOST = 20;

/** Characters of the text that are shown around a word. */
const AROUND = 90;

/** The sections that contain all words, the best first. Each section: title, heading, address, text. */
export function found(sections, query) {
  const words = query.toLowerCase().split(/\s+/).filter((word) => word !== '');
  if (words.length === 0) return [];
  const rated = sections.map((section) => [rating(section, words), section]).filter(([points]) => points > 0);
  return rated.sort(([a], [b]) => b - a).slice(0, MOST).map(([, section]) => section);
}

/** 0 if a word is missing. A heading counts for more than a title, and that for more than the text. */
function rating([title, heading, , text], words) {
  const [inTitle, inHeading, inText] = [title, heading, text].map((part) => part.toLowerCase());
  let points = 0;
  for (const word of words) {
    const here = (inHeading.includes(word) ? 10 : 0) + (inTitle.includes(word) ? 4 : 0) + (inText.includes(word) ? 1 + Math.min(3, inText.split(word).length / 3) : 0);
    if (here === 0) return 0;
    points += here;
  }
  return points;
}

/** The text around the first of the words. */
export function excerpt(text, query) {
  const words = query.toLowerCase().split(/\s+/).filter((word) => word !== '');
  const lower = text.toLowerCase();
  const at = Math.min(...words.map((word) => lower.indexOf(word)).filter((index) => index >= 0), text.length);
  const start = Math.max(0, at === text.length ? 0 : at - AROUND);
  return (start > 0 ? '… ' : '') + text.slice(start, start + 2 * AROUND) + (text.length > start + 2 * AROUND ? ' …' : '');
}

if (root !== undefined) begin();

function begin() {
  const [form, query, results] = ['search', 'query', 'results'].map((id) => document.getElementById(id));
  const article = document.querySelector('article');
  let index;
  form.hidden = false;
  query.addEventListener('input', async () => {
    index ??= fetch(`${root}search.json`).then((answer) => answer.json());
    const sections = await index.catch(() => undefined);
    if (!sections) {
      index = undefined;
      return;
    }
    show(sections, query.value);
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    results.querySelector('a')?.focus();
  });
  query.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    query.value = '';
    show([], '');
  });
  results.addEventListener('click', ({ target }) => {
    // A result on this page would otherwise be hidden behind the results.
    if (target.closest('a')) show([], '');
  });

  function show(sections, text) {
    const all = found(sections, text);
    const isSearch = text.trim() !== '';
    results.hidden = !isSearch;
    article.hidden = isSearch;
    results.replaceChildren(heading(all.length, text), ...all.map((section) => result(section, text)));
  }
}

function heading(count, text) {
  return Object.assign(document.createElement('h1'), { textContent: count === 0 ? `Nothing was found for “${text}”` : `Found for “${text}”` });
}

function result([title, heading, address, text], query) {
  const link = Object.assign(document.createElement('a'), { href: root + address, textContent: heading && heading !== title ? `${title}: ${heading}` : title });
  const made = document.createElement('div');
  made.className = 'result';
  made.append(link, Object.assign(document.createElement('p'), { textContent: excerpt(text, query) }));
  return made;
}
