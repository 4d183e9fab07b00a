// Creates elements without parsing markup, so that what clients choose (names of channels, users, data) is always text.

const SVG = 'http://www.w3.org/2000/svg';

export const byId = (id) => document.getElementById(id);

/** `element('p', { className: 'quiet' }, 'text', child)`. A property with a hyphen is an attribute. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'dataset') Object.assign(made.dataset, value);
    else if (name.includes('-') || name === 'role') made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** The same for SVG; all properties are attributes. */
export function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A link to a page of the dashboard. */
export const link = (page, query, ...children) => element('a', { href: address(page, query) }, ...children);

/** The address of a page of the dashboard, with what it shows. */
export function address(page, query = {}) {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== '')).toString();
  return `#${page}${text && `?${text}`}`;
}

/** A table that can be scrolled sideways on a narrow screen. `rows` are lists of cells: texts or elements. */
export function table(caption, heads, rows, empty) {
  if (rows.length === 0) return element('p', { className: 'quiet' }, empty);
  const head = element('tr', {}, ...heads.map((text) => element('th', { scope: 'col' }, text)));
  const body = rows.map((cells) => element('tr', {}, ...cells.map((cell) => element('td', {}, cell))));
  return element('div', { className: 'scroll', role: 'group', 'aria-label': caption, tabIndex: 0 },
    element('table', {}, element('thead', {}, head), element('tbody', {}, ...body)));
}

/** A labelled field. */
export const field = (label, input) => element('label', {}, label, input);

export function choice(options, chosen) {
  const made = element('select', {}, ...options.map(([value, text]) => element('option', { value }, text)));
  if (chosen) made.value = chosen;
  return made;
}

/** A part of a page with a heading. */
export const panel = (title, ...children) => element('section', { className: 'panel' }, element('h2', {}, title), ...children);

/** Shows what the server refused, and why. */
export function problem(error, app) {
  const shown = element('div', { className: 'problem', role: 'alert' }, element('p', {}, error.message));
  if (error.status === 401) {
    const button = element('button', { type: 'button' }, 'Enter an API key');
    button.addEventListener('click', () => app.askKey());
    shown.append(button);
  }
  return shown;
}
