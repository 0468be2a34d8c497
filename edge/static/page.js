// The page: an order becomes a drawing, a drawing becomes pictures, and every button does its deed.

import { Refusal } from "./api.js";
import { drawKept } from "./job.js";
import { OrderForm } from "./order.js";
import { Picture } from "./picture.js";
import { Progress } from "./progress.js";
import { drawUnkept } from "./stream.js";
import { durationS } from "./time.js";
import { Trouble } from "./trouble.js";
import { Visit } from "./visit.js";
import { inWords } from "./words.js";

const $ = (selector) => document.querySelector(selector);
const house = document.documentElement;
const stage = $(".stage");
const easel = $("#pictures");
const form = new OrderForm($("#order"));
const progress = new Progress($("#progress"), $("#said"));
const trouble = new Trouble($("#trouble"), (order) => draw(order));
const visit = new Visit($(".visit"), (picture) => exhibit([picture]));

let running = null; // the AbortController of the drawing that goes on
let exhibited = [];

async function draw(order) {
  if (running) return;
  running = new AbortController();
  trouble.clear();
  const pictures = Array.from({ length: order.n }, () => new Picture(order, gone));
  const before = exhibited;
  begin(pictures);
  try {
    const drawOrder = order.retention === "none" ? drawUnkept : drawKept;
    const { isCancelled, isTruncated } = await drawOrder(order, watching(pictures), running.signal);
    end(pictures, before, isCancelled ? "Cancelled" : finished(pictures.length, order));
    if (isTruncated) trouble.note("Only the beginning of your prompt was read; shorter works better here.");
  } catch (error) {
    const isCancelled = error.name === "AbortError";
    end(pictures, before, isCancelled ? "Cancelled" : "");
    if (!isCancelled) complain(error, order);
  }
}

function watching(pictures) {
  return {
    queued: (queue) => progress.queued(queue),
    interrupted: (isSo) => progress.interrupted(isSo),
    preview: (index, src) => {
      if (!pictures[index].isReady) pictures[index].show(src);
    },
    step: (step) => {
      progress.step(step);
      for (const picture of pictures) if (!picture.isReady) picture.sharpen((0.9 * step.done) / step.total);
    },
    image: (index, image) => {
      if (pictures[index].isReady) return; // told again at the end, and perhaps deleted since
      pictures[index].finish(image).then(() => {
        visit.add(pictures[index]);
        visit.mark(exhibited);
      }).catch((error) => complain(error, null));
    },
  };
}

function begin(pictures) {
  house.dataset.scene = "drawing";
  exhibit(pictures);
  progress.begin();
  busy(true);
}

function end(pictures, before, sentence) {
  running = null;
  progress.end(sentence);
  const ready = pictures.filter((picture) => picture.isReady && !picture.isGone);
  for (const picture of pictures) if (!picture.isReady) picture.discard();
  exhibit(ready.length ? ready : before.filter((picture) => !picture.isGone));
  busy(false);
}

function exhibit(pictures) {
  exhibited = pictures;
  easel.replaceChildren(...pictures.map((picture) => picture.element));
  easel.dataset.count = pictures.length;
  stage.hidden = pictures.length === 0;
  if (!running) house.dataset.scene = pictures.length ? "shown" : "empty";
  visit.mark(pictures);
}

function busy(isSo) {
  $(".draw[type=submit]").hidden = isSo;
  $(".draw.cancel").hidden = !isSo;
  $("#order").setAttribute("aria-busy", String(isSo));
  for (const button of document.querySelectorAll("#thumbnails button, [data-example], [data-act=again]")) button.disabled = isSo;
}

function finished(count, { retention }) {
  const what = count === 1 ? "The picture is ready." : `The ${count} pictures are ready.`;
  const words = { none: "Not stored.", on_download: "Fetched; the server's copy goes within a minute." };
  return `${what} ${words[retention] ?? `Gone in ${inWords(durationS(retention))}.`}`;
}

function complain(error, order) {
  if (!(error instanceof Refusal)) throw error;
  if (!form.complain(error.param, error.message)) trouble.show(error, order);
}

function gone(picture, farewell) {
  visit.drop(picture);
  progress.say(farewell);
}

const deeds = {
  cancel: () => running?.abort(),
  again: ({ order: { seed: _seed, ...order } }) => draw(order),
  seed: ({ image }) => form.fill("seed", image.seed),
  async copy({ address }, button) {
    try {
      await navigator.clipboard.writeText(address);
    } catch {
      trouble.note(address); // no clipboard here: without https there is none
      return;
    }
    const label = button.querySelector("span");
    label.textContent = "Copied";
    progress.say("Address copied. Whoever has it can see the picture, until it goes.");
    setTimeout(() => { label.textContent = "Copy address"; }, 2000);
  },
  async delete(picture) {
    try {
      await picture.remove();
      form.fields.prompt.focus();
    } catch (error) {
      complain(error, null);
    }
  },
};

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-act], [data-example]");
  if (!button) return;
  if ("example" in button.dataset) {
    form.fill("prompt", button.textContent);
    $("#order").requestSubmit();
  }
  const picture = exhibited.find(({ element }) => element.contains(button));
  deeds[button.dataset.act]?.(picture, button);
});

document.addEventListener("proving", ({ detail: isSo }) => progress.proving(isSo));

$("#order").addEventListener("submit", (event) => {
  event.preventDefault();
  const order = running ? null : form.read();
  if (order) draw(order);
});

form.fields.prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("#order").requestSubmit();
});

document.addEventListener("keydown", ({ key }) => key === "Escape" && running?.abort());
setInterval(() => visit.pictures.forEach((picture) => picture.tick()), 1000);
