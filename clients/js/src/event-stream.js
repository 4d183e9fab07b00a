// Receives by server-sent events. They are read with `fetch`, not with `EventSource`, which would reconnect by itself and does
// not say why it failed.

import { Requests } from './requests.js';

/** The time limit for the first event. 5 s: detects a proxy that buffers the stream, and is enough for a slow network. */
const OPEN_WITHIN = 5_000;

/** The maximum length of an incomplete event in characters. 16 MiB: more than a server's longest message. */
const LONGEST = 16 * 1024 * 1024;

export class EventStream extends Requests {
  transport = 'sse';
  #text = '';

  async begin() {
    const controller = new AbortController();
    const cancel = this.environment.later(() => this.readyState === 0 && this.lost('it took too long'), OPEN_WITHIN);
    try {
      await this.during(controller, 2 ** 31 - 1, () => this.#read(controller));
    } catch (error) {
      this.lost(`the stream broke: ${error.message}`);
    } finally {
      cancel();
    }
  }

  async #read(controller) {
    const answer = await this.stream(controller);
    if (answer.status !== 200) {
      this.lost(`a request was refused: HTTP ${answer.status}`);
      return;
    }
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      this.#take(decoder.decode(piece.value, { stream: true }));
      if (this.readyState === 3) return;
    }
    this.lost('the stream ended');
  }

  #take(text) {
    const events = (this.#text + text).split('\n\n');
    this.#text = events.pop();
    if (this.#text.length > LONGEST) this.lost('an event is too long');
    for (const event of events) this.#event(event);
  }

  #event(event) {
    let name;
    const data = [];
    for (const line of event.split('\n')) {
      if (line.startsWith('event: ')) name = line.slice(7);
      else if (line.startsWith('data: ')) data.push(line.slice(6));
    }
    // A comment.
    if (data.length === 0) return;
    const text = data.join('\n');
    if (name === 'open') this.opened(JSON.parse(text).connection);
    else if (name === 'close') this.closed(JSON.parse(text));
    else if (name === undefined) this.received(text);
  }
}
