// Creates elements without parsing markup, so that what people write is always text.

const SVG = 'http://www.w3.org/2000/svg';

export const byId = (id) => document.getElementById(id);

/** `element('p', { className: 'edge' }, 'text', child)`. */
export function element(tag, properties = {}, ...children) {
  const { dataset, hue, attributes, ...own } = properties;
  const made = Object.assign(document.createElement(tag), own);
  Object.assign(made.dataset, dataset);
  for (const [name, value] of Object.entries(attributes ?? {})) made.setAttribute(name, value);
  if (hue !== undefined) made.style.setProperty('--hue', hue);
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** One of the symbols in index.html. */
export function icon(name) {
  const made = document.createElementNS(SVG, 'svg');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#i-${name}`);
  made.append(use);
  made.setAttribute('aria-hidden', 'true');
  return made;
}

const ADDRESS = /\bhttps?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]]/g;

/** The text, with its web addresses as links. */
export function linked(text) {
  const parts = [];
  let at = 0;
  for (const { 0: href, index } of text.matchAll(ADDRESS)) {
    parts.push(text.slice(at, index), element('a', { href, rel: 'noopener noreferrer nofollow', target: '_blank' }, href));
    at = index + href.length;
  }
  return [...parts, text.slice(at)];
}
