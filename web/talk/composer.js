// The text field and its button.

import { byId } from './dom.js';

export class Composer {
  #words = byId('words');
  #send = byId('send');
  #owner;

  /** @param owner callbacks `say(text)` and `writes()` (something was typed) */
  constructor(owner) {
    this.#owner = owner;
    byId('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#say();
    });
    this.#words.addEventListener('keydown', (event) => this.#pressed(event));
    this.#words.addEventListener('input', () => this.#changed());
  }

  focus() {
    this.#words.focus();
  }

  /** Enter sends. With Shift it adds a line; while an input method composes it belongs to that. */
  #pressed(event) {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#say();
  }

  #changed() {
    const isEmpty = this.#words.value.trim() === '';
    this.#send.disabled = isEmpty;
    if (!isEmpty) this.#owner.writes();
    // As high as the text; the style sheet has the limit.
    this.#words.style.height = 'auto';
    this.#words.style.height = `${this.#words.scrollHeight}px`;
  }

  #say() {
    const text = this.#words.value.trim();
    if (text === '') return;
    this.#words.value = '';
    this.#changed();
    this.#owner.say(text);
    this.#words.focus();
  }
}
