// Where one writes.

import { byId } from './dom.js';

export class Composer {
  #words = byId('words');
  #send = byId('send');
  #owner;

  /** @param owner `say(text)`, `writes()` */
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

  /** Enter sends; with Shift, or while an input method composes, it is a new line. */
  #pressed(event) {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#say();
  }

  #changed() {
    const isEmpty = this.#words.value.trim() === '';
    this.#send.disabled = isEmpty;
    if (!isEmpty) this.#owner.writes();
    // As high as what is written; the style says how high at most.
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
