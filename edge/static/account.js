// The page of an account. A device makes passkeys and signs with them; what it answered goes to `/v1/account`.

import { Refusal, call } from "./api.js";
import { Once } from "./account-once.js";

const $ = (selector) => document.querySelector(selector);
const notice = $(".notice[role=alert]");
const codes = new Once($(".once"), () => location.assign("/account"));

const deeds = {
  "sign-up": async () => {
    const credential = await made("sign_up");
    show((await told("POST", "/v1/account", { credential, label: "first passkey", bring: brings() })).recovery_codes);
  },
  "sign-in": async () => {
    const { credential, rpId } = await signed();
    try {
      await call("POST", "/v1/account/sign-in", { credential, bring: brings() });
    } catch (error) {
      if (error.code === "unknown_passkey") await offerNoMore(rpId, credential.id);
      throw error;
    }
    location.assign("/account");
  },
  recover: async (form) => {
    await call("POST", "/v1/account/recovery", { code: form.elements.code.value, bring: brings() });
    location.assign("/account");
  },
  "sign-out": async () => {
    await call("DELETE", "/v1/account/sign-in");
    location.assign("/account");
  },
  add: async (form) => {
    const credential = await made("add_passkey");
    await call("POST", "/v1/account/passkeys", { credential, label: form.elements.label.value });
    location.reload();
  },
  remove: async ({ dataset: { id } }) => {
    await call("DELETE", `/v1/account/passkeys/${id}`);
    location.reload();
  },
  renew: async () => show((await told("POST", "/v1/account/recovery-codes", {})).codes),
  delete: async () => {
    const { claims } = await told("DELETE", "/v1/account", undefined, { headers: { "Sfumato-Confirm": "erase" } });
    location.assign(`/your-data/receipts/${claims.jti}`);
  },
  "copy-codes": () => codes.copy(),
  "kept-codes": () => codes.kept(),
};

async function told(...asked) {
  return (await call(...asked)).json();
}

function show(lines) {
  $(".codes").replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  $("[data-act=save-codes]").href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/plain" }));
  $(".account").classList.add("holding"); // nothing else matters until they are kept
  codes.show(lines.join("\n"));
}

const brings = () => Boolean($("[name=bring]")?.checked);

async function made(purpose) {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(await challenge(purpose));
  return (await navigator.credentials.create({ publicKey })).toJSON();
}

async function signed() {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(await challenge("sign_in"));
  return { credential: (await navigator.credentials.get({ publicKey })).toJSON(), rpId: publicKey.rpId };
}

async function offerNoMore(rpId, credentialId) {
  try {
    await PublicKeyCredential.signalUnknownCredential?.({ rpId, credentialId });
  } catch {
    // the words say what to do by hand
  }
}

async function challenge(purpose) {
  if (!window.PublicKeyCredential?.parseRequestOptionsFromJSON) throw new Refusal("This browser cannot use passkeys here: it is too old, or the connection is not safe.");
  return (await told("POST", "/v1/account/challenges", { purpose })).options;
}

const OF_DEVICES = {
  NotAllowedError: "Nothing has changed: the device was not unlocked, or not in time.",
  InvalidStateError: "This device has a passkey of this account already.",
  SecurityError: "Passkeys belong to this service's own name, and this page was opened under another.",
};

async function act(deed, element) {
  if (document.body.hasAttribute("aria-busy")) return; // a second press would make what nobody sees
  notice.hidden = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    await deed(element);
  } catch (error) {
    const message = error instanceof Refusal ? error.message : OF_DEVICES[error.name];
    if (!message) throw error;
    notice.textContent = sentence(message);
    notice.hidden = false;
    notice.scrollIntoView({ block: "nearest" });
  } finally {
    document.body.removeAttribute("aria-busy");
  }
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button[data-act]");
  const deed = button && deeds[button.dataset.act];
  if (deed) act(deed, button);
});
document.addEventListener("submit", (event) => {
  const deed = deeds[event.target.dataset.act];
  if (!deed) return;
  event.preventDefault();
  act(deed, event.target);
});
