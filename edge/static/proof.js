// A little work that the server asks for first while very many people draw. It is done beside the page, by our own code.

/**
 * Resolves with what goes into the header `Sfumato-Proof`; an abort of `signal` ends the work.
 * The document hears of it: `proving`, with true and false.
 */
export async function solve(challenge, signal) {
  signal?.throwIfAborted();
  const worker = new Worker(new URL("./proof-worker.js", import.meta.url), { type: "module" });
  say(true);
  try {
    const solution = await new Promise((resolve, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason));
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = () => reject(new Error("the browser could not do the work"));
      worker.postMessage(challenge.parameters);
    });
    return btoa(JSON.stringify({ challenge, solution }));
  } finally {
    worker.terminate();
    say(false);
  }
}

function say(isSo) {
  document.dispatchEvent(new CustomEvent("proving", { detail: isSo }));
}
