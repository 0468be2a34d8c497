// A drawing that is never stored: one reply that streams previews and the pictures themselves.
// The same `watch` as a job's; there is no queue position and no step, so previews stand for steps.

import { call, refusal, unreachable } from "./api.js";
import { dataUrl } from "./job.js";

const PREVIEWS = 3;

export async function drawUnkept(order, watch, signal) {
  const wish = { ...order, stream: true, response_format: "b64_json", partial_images: PREVIEWS };
  const marks = { done: 0, total: order.n * (PREVIEWS + 1), words: "Drawing" };
  let isTruncated = false;
  try {
    const reply = await call("POST", "/v1/images/generations", wish, { signal });
    for await (const event of serverSent(reply.body)) {
      hear(event, watch, marks);
      isTruncated ||= event.truncated === true;
    }
    return { isCancelled: false, isTruncated };
  } catch (error) {
    if (error.name === "AbortError") return { isCancelled: true };
    throw error instanceof TypeError ? unreachable() : error;
  }
}

function hear(event, watch, marks) {
  if (event.error) throw refusal(event.error);
  marks.done += 1;
  watch.step(marks);
  if (event.type === "image_generation.partial_image") watch.preview(event.index, dataUrl(event));
  if (event.type === "image_generation.completed") watch.image(event.index, { ...event, blob: blobOf(event) });
}

function blobOf({ b64_json, output_format }) {
  const bytes = Uint8Array.from(atob(b64_json), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: `image/${output_format}` });
}

async function* serverSent(body) {
  let pending = "";
  for await (const chunk of chunksOf(body.pipeThrough(new TextDecoderStream()))) {
    const blocks = (pending + chunk).split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (data && data.trim() !== "[DONE]") yield JSON.parse(data);
    }
  }
}

/** Streams are not async iterable everywhere yet. */
async function* chunksOf(stream) {
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}
