// The form: what can be chosen, what was chosen, and each complaint beside its field.

import { durationS } from "./time.js";
import { inWords, timesSign } from "./words.js";

const MOST_PICTURES = 4;
const MAX_SEED = 2n ** 53n - 1n;
const UNCOPIED = ["none", "on_download"];
const USUAL_TIMES = ["PT10M", "PT1H", "PT6H", "P1D", "P7D", "P30D"];

export class OrderForm {
  constructor(form) {
    this.form = form;
    this.models = JSON.parse(form.dataset.models);
    this.fields = form.elements;
    this.isGpc = Boolean(this.fields.training?.disabled);
    this.#offer(JSON.parse(form.dataset.retention), Number(form.dataset.maxImages));
    this.#offerModel();
    form.addEventListener("input", (event) => this.#changed(event.target));
  }

  /** What the server shall draw, or null when a field complains; the first such field has the focus. */
  read() {
    this.forgive();
    const { prompt, model, size, steps, seed, n, retention } = this.fields;
    if (!prompt.value.trim()) this.complain("prompt", "Say what you would like to see.");
    if (!steps.validity.valid) this.complain("steps", `${steps.min} to ${steps.max}`);
    if (!isSeed(seed.value.trim(), Number(n.value))) this.complain("seed", "A whole number, or empty for random.");
    if (this.form.querySelector("[aria-invalid]")) return null;
    const order = {
      prompt: prompt.value, model: model.value, size: size.value,
      steps: Number(steps.value), n: Number(n.value), retention: retention.value,
    };
    if (seed.value.trim()) order.seed = Number(seed.value);
    if (this.#saysTraining()) order.training = this.fields.training.value;
    return order;
  }

  fill(name, value) {
    this.fields[name].value = value;
    this.#changed(this.fields[name]);
  }

  /** True when there is such a field to complain at. */
  complain(name, message) {
    const place = this.form.querySelector(`[data-error-of="${CSS.escape(name ?? "")}"]`);
    if (!place) return false;
    const isFirst = !this.form.querySelector("[aria-invalid]");
    place.textContent = message;
    place.hidden = false;
    this.fields[name].setAttribute("aria-invalid", "true");
    if (isFirst) this.fields[name].focus();
    return true;
  }

  forgive(name = null) {
    for (const place of this.form.querySelectorAll(name ? `[data-error-of="${name}"]` : "[data-error-of]")) {
      place.hidden = true;
      this.fields[place.dataset.errorOf].removeAttribute("aria-invalid");
    }
  }

  #changed(field) {
    this.forgive(field.name);
    if (field.name === "model") this.#offerModel();
    if (field.name === "prompt") grow(field);
    if (field.name === "retention") this.#offerTraining();
  }

  /** Only another word than the usual one is sent: what was chosen for all pictures is the server's to know. */
  #saysTraining() {
    const { training } = this.fields;
    return training && !training.disabled && training.value !== training.dataset.usual;
  }

  /** What is not stored for a time is never copied. */
  #offerTraining() {
    const { training, retention } = this.fields;
    if (!training || this.isGpc) return;
    training.disabled = UNCOPIED.includes(retention.value);
    training.value = training.disabled ? "deny" : training.dataset.usual;
  }

  #offer(retention, maxImages) {
    const { model, n, retention: keep } = this.fields;
    options(model, this.models.map(({ id, title }) => [id, title ?? id]));
    model.closest(".choice").hidden = this.models.length < 2;
    options(n, Array.from({ length: Math.min(MOST_PICTURES, maxImages) }, (_, index) => [index + 1, index + 1]));
    options(keep, [["none", "not stored"], ["on_download", "until downloaded"], ...timesTo(retention).map((iso) => [iso, inWords(durationS(iso))])]);
    keep.value = retention.default;
  }

  #offerModel() {
    const { size, steps, model } = this.fields;
    const chosen = this.models.find(({ id }) => id === model.value);
    options(size, chosen.sizes.map((name) => [name, timesSign(name)]));
    size.value = chosen.auto_size;
    Object.assign(steps, { min: chosen.steps.minimum, max: chosen.steps.maximum, value: chosen.steps.default });
    document.getElementById("model-note").textContent = chosen.note ?? "";
  }
}

function timesTo({ default: usual, maximum }) {
  const times = new Set([...USUAL_TIMES, usual, maximum]);
  const upTo_s = durationS(maximum);
  const byLength = new Map([...times].map((iso) => [durationS(iso), iso]));
  return [...byLength].filter(([seconds]) => seconds <= upTo_s).sort(([a], [b]) => a - b).map(([, iso]) => iso);
}

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
}

function isSeed(text, n) {
  return !text || (/^\d{1,16}$/.test(text) && BigInt(text) + BigInt(n) - 1n <= MAX_SEED);
}

function grow(textarea) {
  textarea.style.height = "auto";
  textarea.style.height = `${textarea.scrollHeight}px`;
}
