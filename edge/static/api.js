// Calls to our own server. Whatever goes wrong becomes a Refusal whose message can be shown as it is.

import { solve } from "./proof.js";
import { setByServer } from "./time.js";

export class Refusal extends Error {
  constructor(message, { code = null, param = null, retryAfterS = null, challenge = null } = {}) {
    super(message);
    Object.assign(this, { code, param, retryAfterS, challenge });
  }
}

/** Raises Refusal. Where the server asks for a proof of work, it is done and the call made again, once. */
export async function call(method, path, body = undefined, options = {}) {
  try {
    return await ask(method, path, body, options);
  } catch (error) {
    if (error.code !== "proof_of_work_required" || !error.challenge) throw error;
    const proof = await solve(error.challenge, options.signal);
    return ask(method, path, body, options, { "Sfumato-Proof": proof });
  }
}

async function ask(method, path, body, options, headers = {}) {
  const reply = await reach(path, {
    method,
    headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    ...options,
  });
  setByServer(reply.headers.get("Date"));
  if (!reply.ok) throw await refusalOf(reply);
  return reply;
}

export function refusal({ message, code, param, retry_after_s: retryAfterS }) {
  return new Refusal(message ?? "Something went wrong here.", { code, param, retryAfterS });
}

export function unreachable() {
  const message = navigator.onLine ? "The server does not answer." : "You are offline.";
  return new Refusal(message, { code: "unreachable" });
}

async function reach(path, request) {
  try {
    return await fetch(path, request);
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
}

async function refusalOf(reply) {
  const { error = {} } = await reply.json().catch(() => ({}));
  const retryAfterS = Number(reply.headers.get("Retry-After")) || null;
  return new Refusal(error.message ?? `The server answered ${reply.status}.`, { ...error, retryAfterS });
}
