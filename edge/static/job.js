// A drawing whose pictures are kept: a job on the server, followed through its events.
// `watch` hears queued, step, preview, image and interrupted; the promise resolves with how it ended.

import { call, refusal, Refusal, unreachable } from "./api.js";

const ENDINGS = ["succeeded", "failed", "blocked", "cancelled"];
const MAX_PREVIEWS = 12;

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

function follow(path, watch, signal) {
  const events = new EventSource(`${path}/events`);
  const heard = (name, tell) => events.addEventListener(name, (event) => tell(JSON.parse(event.data)));
  heard("queued", (queue) => watch.queued(queue));
  heard("step", (step) => watch.step(step));
  heard("preview", (preview) => watch.preview(preview.index, dataUrl(preview)));
  heard("image", ({ index, image }) => image && watch.image(index, image));
  events.addEventListener("open", () => watch.interrupted(false));

  const ended = new Promise((resolve, reject) => {
    for (const name of ENDINGS) heard(name, resolve);
    events.addEventListener("error", () => {
      watch.interrupted(true);
      if (events.readyState === EventSource.CLOSED) stateOf(path).then(resolve, reject);
    });
    signal.addEventListener("abort", () => {
      call("DELETE", path).catch(() => {}); // unheard, the server cancels by itself: nobody listens any more
      resolve({ status: "cancelled", images: [] });
    });
  });
  return ended.finally(() => events.close());
}

/** The stream was refused or is over: ask once how the job stands. */
async function stateOf(path) {
  const job = await (await call("GET", path)).json();
  if (ENDINGS.includes(job.status)) return job;
  throw navigator.onLine ? new Refusal("The connection to this drawing was lost.", { code: "lost" }) : unreachable();
}

export function dataUrl({ b64_json, output_format }) {
  return `data:image/${output_format};base64,${b64_json}`;
}
