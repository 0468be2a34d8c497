// What went wrong and belongs to no field: a sentence, and when it makes sense a button to try again in time.

import { about } from "./words.js";

export class Trouble {
  constructor(element, onRetry) {
    this.element = element;
    this.sentence = element.querySelector("p");
    this.button = element.querySelector("button");
    this.button.addEventListener("click", () => onRetry(this.order));
  }

  show({ message, retryAfterS }, order) {
    this.clear();
    this.order = order;
    this.sentence.textContent = message;
    this.element.hidden = false;
    this.button.hidden = order === null;
    if (order && retryAfterS) this.#countDown(Math.ceil(retryAfterS));
  }

  note(message) {
    this.show({ message }, null);
  }

  clear() {
    clearInterval(this.timer);
    this.#free();
    this.element.hidden = true;
  }

  #countDown(seconds) {
    const end_ms = Date.now() + seconds * 1000;
    const tick = () => {
      const left_s = Math.ceil((end_ms - Date.now()) / 1000);
      if (left_s > 0) this.button.textContent = `Try again in ${left_s < 90 ? `${left_s} s` : about(left_s)}`;
      else this.#free();
    };
    this.button.disabled = true;
    this.timer = setInterval(tick, 500);
    tick();
  }

  #free() {
    clearInterval(this.timer);
    this.button.disabled = false;
    this.button.textContent = "Try again";
  }
}
