// A drawing whose pictures are kept: a job on the server, followed through its events.
// `watch` hears queued, step, preview, image and interrupted; the promise resolves with how it ended.

import { call, refusal, Refusal, unreachable } from "./api.js";

const ENDINGS = ["succeeded", "failed", "blocked", "cancelled"];
const MAX_PREVIEWS = 12;
const RETRY_MS = 1000;
const MOST_REFUSALS = 12; // in a row: by then the server cancels what nobody listens to

export async function drawKept(order, watch, signal) {
  const wish = { ...order, partial_images: Math.min(MAX_PREVIEWS, order.steps), cancel_when_unwatched: true };
  const reply = await call("POST", "/v1/generations", wish, { signal });
  const { id, queue } = await reply.json();
  if (queue) watch.queued(queue);
  const job = await follow(`/v1/generations/${id}`, watch, signal);
  if (job.status === "failed" || job.status === "blocked") throw refusal(job.error ?? {});
  for (const image of job.images) watch.image(image.index, image);
  return { isCancelled: job.status === "cancelled", isTruncated: job.truncated };
}

/** A stream that breaks is opened again by the browser; one that is refused, by us: an edge may just be going. */
async function follow(path, watch, signal) {
  signal.addEventListener("abort", () => {
    call("DELETE", path).catch(() => {}); // unheard, the server cancels by itself: nobody listens any more
  });
  for (let refusals = 0; refusals < MOST_REFUSALS; refusals += 1) {
    const { ended, wasOpen } = await listen(path, watch, signal);
    const job = ended ?? (await stateOf(path));
    if (ENDINGS.includes(job?.status)) return job;
    if (wasOpen) refusals = 0;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  throw navigator.onLine ? new Refusal("The connection to this drawing was lost.", { code: "lost" }) : unreachable();
}

/** Until the end, which is `ended`, or until the stream is refused. */
async function listen(path, watch, signal) {
  const events = new EventSource(`${path}/events`);
  const heard = (name, tell) => events.addEventListener(name, (event) => tell(JSON.parse(event.data)));
  heard("queued", (queue) => watch.queued(queue));
  heard("step", (step) => watch.step(step));
  heard("preview", (preview) => watch.preview(preview.index, dataUrl(preview)));
  heard("image", ({ index, image }) => image && watch.image(index, image));
  let wasOpen = false;
  events.addEventListener("open", () => {
    wasOpen = true;
    watch.interrupted(false);
  });
  const ended = await new Promise((resolve) => {
    for (const name of ENDINGS) heard(name, resolve);
    events.addEventListener("error", () => {
      watch.interrupted(true);
      if (events.readyState === EventSource.CLOSED) resolve(null);
    });
    const cancelled = () => resolve({ status: "cancelled", images: [] });
    if (signal.aborted) cancelled();
    signal.addEventListener("abort", cancelled);
  });
  events.close();
  return { ended, wasOpen };
}

/** How the job stands; null where that cannot be said now. */
async function stateOf(path) {
  try {
    return await (await call("GET", path)).json();
  } catch (error) {
    if (error.code && error.code !== "unreachable" && !error.retryAfterS) throw error;
    return null;
  }
}

export function dataUrl({ b64_json, output_format }) {
  return `data:image/${output_format};base64,${b64_json}`;
}
