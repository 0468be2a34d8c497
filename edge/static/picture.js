// One picture: it comes out of the smoke while it is drawn, lives, and goes back when its time is over.

import { call } from "./api.js";
import { nowS } from "./time.js";
import { countdown, timesSign } from "./words.js";

const FADING_S = 60; // the last minute, in which it visibly leaves
const FAREWELL_MS = 1600;

export class Picture {
  /** `onGone` hears when it can be seen no more, whether by time or by its owner. */
  constructor(order, onGone) {
    this.order = order;
    this.element = document.getElementById("picture").content.firstElementChild.cloneNode(true);
    this.isReady = false;
    this.isGone = false;
    this.#onGone = onGone;
    this.#sight.alt = "A picture that is being drawn";
  }

  #onGone;
  #latest = 0;
  #blobUrl = null;

  get address() { return this.image?.url ?? null; }
  get source() { return this.#blobUrl ?? new URL(this.image.url, location.href).pathname; }

  async show(src) {
    const turn = ++this.#latest;
    await Promise.all([this.#sight, this.#glow].map((place) => swap(place, src, () => turn === this.#latest)));
  }

  sharpen(share) {
    this.element.style.setProperty("--sharp", share.toFixed(3));
  }

  /** Resolves when it has a source. Raises Refusal when it had to be fetched and could not be. */
  async finish(image) {
    if (this.isReady) return;
    this.isReady = true;
    this.image = image.on_download ? await fetchedOnce(image) : image;
    if (this.image.blob) this.#blobUrl = URL.createObjectURL(this.image.blob);
    this.#describe();
    this.#appear();
  }

  async #appear() {
    await this.show(this.source);
    this.sharpen(1);
    this.element.classList.add("ready");
    this.tick();
  }

  tick() {
    if (!this.image || this.isGone) return;
    const left_s = this.image.expires_at ? this.image.expires_at - nowS() : Infinity;
    if (left_s <= 0) return this.vanish("Gone, as promised.");
    this.#part(".countdown").textContent = Number.isFinite(left_s) ? `gone in ${countdown(left_s)}` : this.image.words ?? "not stored, only in this tab";
    this.element.style.setProperty("--life", Math.min(1, left_s / FADING_S).toFixed(3));
  }

  /** Raises Refusal when the server could not be told; then nothing has changed. */
  async remove() {
    if (this.image.id) await deleted(this.image.id);
    this.vanish("Deleted. Nobody can bring it back, and neither can we.");
  }

  vanish(farewell) {
    this.isGone = true;
    this.element.classList.add("gone");
    this.#part(".countdown").textContent = farewell;
    for (const part of this.element.querySelectorAll(".deeds, .facts")) part.remove();
    setTimeout(() => this.#forget(), FAREWELL_MS);
    this.#onGone(this, farewell);
  }

  /** A drawing that did not come to be. */
  discard() {
    this.element.remove();
  }

  #forget() {
    for (const place of this.element.querySelectorAll("img")) place.remove();
    if (this.#blobUrl) URL.revokeObjectURL(this.#blobUrl);
  }

  #describe() {
    const { size, native_size: native, seed } = this.image;
    this.#sight.alt = this.order.prompt;
    this.#part("figcaption").hidden = false;
    const drawn = native && native !== size ? `Drawn at ${timesSign(native)}, resampled to ${timesSign(size)}.` : `Drawn at ${timesSign(size)}.`;
    this.#part(".origin").textContent = drawn;
    this.#part("[data-act=seed]").textContent = seed ?? "";
    this.#part(".seed").hidden = !Number.isInteger(seed);
    this.#part("[data-act=copy]").hidden = !this.address;
    const download = this.#part("[data-act=download]");
    download.href = this.#blobUrl ?? `${this.source}?download=1`;
    download.download = this.#blobUrl ? `sfumato.${this.image.output_format}` : "";
  }

  get #sight() { return this.#part(".sight"); }
  get #glow() { return this.#part(".glow"); }
  #part(selector) { return this.element.querySelector(selector); }
}

/** Of a picture that goes with its first download: this copy is all there is, to show and to save. Raises Refusal. */
async function fetchedOnce(image) {
  const reply = await call("GET", new URL(image.url, location.href).pathname);
  return { ...image, blob: await reply.blob(), url: null, expires_at: null, words: "fetched, only in this tab" };
}

async function deleted(id) {
  try {
    await call("DELETE", `/v1/images/${id}`);
  } catch (error) {
    if (error.code !== "gone" && error.code !== "not_found") throw error;
  }
}

/** Changes the source once it is decoded, so that nothing flickers; an older one that comes late is dropped. */
async function swap(place, src, isWanted) {
  const next = new Image();
  next.src = src;
  await next.decode().catch(() => {});
  if (!isWanted()) return;
  place.src = src;
  place.hidden = false;
}
