// How far the drawing is: the line to look at, and the few sentences that are read aloud.

import { about, ordinal } from "./words.js";

const TITLE = document.title;

export class Progress {
  constructor(element, said) {
    this.element = element;
    this.bar = element.querySelector("progress");
    this.line = element.querySelector("p");
    this.said = said;
  }

  begin() {
    this.element.classList.remove("over");
    this.bar.removeAttribute("value");
    this.#write("Sending");
  }

  proving(isSo) {
    this.#write(isSo ? "Very many people are drawing: your browser does a little work first" : "Sending");
  }

  queued({ position, eta_s }) {
    const place = position > 0 ? `${ordinal(position + 1)} in line` : "Next in line";
    this.#write(eta_s > 0 ? `${place}, ${about(eta_s)}` : place);
    this.say(place);
  }

  step({ done, total, words = `Step ${done} of ${total}` }) {
    if (!this.bar.hasAttribute("value")) this.say("Drawing");
    this.bar.max = total;
    this.bar.value = done;
    this.#write(words);
    document.title = `${Math.round((100 * done) / total)} % · ${TITLE}`;
  }

  interrupted(isSo) {
    if (isSo) this.#write("The connection is interrupted; trying again");
  }

  end(sentence) {
    this.element.classList.add("over");
    document.title = TITLE;
    this.say(sentence);
  }

  say(sentence) {
    if (this.said.textContent !== sentence) this.said.textContent = sentence;
  }

  #write(text) {
    this.line.textContent = text;
  }
}
