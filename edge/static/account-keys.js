// The page of API keys: what `/v1/keys` says, and what it does when asked. A new key is on the page once.

import { Refusal, call } from "./api.js";
import { Once } from "./account-once.js";

const $ = (selector) => document.querySelector(selector);
const notice = $(".notice[role=alert]");
const fresh = new Once($(".once"), () => {
  $(".secret code").textContent = "";
});

const deeds = {
  make: async (form) => {
    const { name, expires_in: expiresIn } = form.elements;
    const scopes = [...form.querySelectorAll("[name=scopes]:checked")].map((box) => box.value);
    if (!scopes.length) throw new Refusal("Say at least one thing that it may do.");
    const wanted = { name: name.value, scopes, ...(expiresIn.value && { expires_in: expiresIn.value }) };
    show(await told("POST", "/v1/keys", wanted));
    form.reset();
  },
  rotate: async ({ dataset: { id } }) => show(await told("POST", `/v1/keys/${id}/rotate`, {})),
  revoke: async ({ dataset: { id } }) => {
    await call("DELETE", `/v1/keys/${id}`);
    await list();
  },
  "copy-key": () => fresh.copy(),
  "kept-key": () => fresh.kept(),
};

async function told(...asked) {
  return (await call(...asked)).json();
}

function show({ key }) {
  $(".secret code").textContent = key;
  fresh.show(key);
  return list();
}

async function list() {
  const { data } = await told("GET", "/v1/keys");
  const ended = data.filter(whenEnded);
  $("#list").replaceChildren(...data.filter((key) => !whenEnded(key)).map(row), ...ended.map(row));
  $("#none").hidden = data.length > 0;
}

function row(key) {
  const item = document.createElement("li");
  const ended = whenEnded(key);
  const about = element("span", "");
  about.append(element("b", key.name), " ", element("code", key.hint), element("small", facts(key, ended)));
  about.className = ended ? "about ended" : "about";
  item.append(about);
  if (!ended) {
    const deeds = Object.assign(element("span", ""), { className: "deeds" });
    deeds.append(button("rotate", "Replace", key), button("revoke", "Revoke", key));
    item.append(deeds);
  }
  return item;
}

function facts({ scopes, created_on: made, last_used_on: used, expires_at: endsAt }, ended) {
  const end = ended ?? (endsAt ? `ends ${day(endsAt)}` : "ends when it is revoked");
  return `${scopes.join(", ")}; made ${made}, ${used ? `last used ${used}` : "never used"}, ${end}`;
}

function whenEnded({ revoked_at: revokedAt, expires_at: expiresAt }) {
  if (revokedAt) return `revoked ${day(revokedAt)}`;
  return expiresAt && expiresAt * 1000 <= Date.now() ? `ended ${day(expiresAt)}` : null;
}

const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
const element = (name, textContent) => Object.assign(document.createElement(name), { textContent });

function button(act, label, { id, name }) {
  const made = Object.assign(element("button", label), { type: "button", className: "deed", ariaLabel: `${label} the key ${name}` });
  Object.assign(made.dataset, { act, id });
  return made;
}

async function act(deed, about) {
  if (document.body.hasAttribute("aria-busy")) return; // a second press would make a key that nobody sees
  notice.hidden = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    await deed(about);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    notice.textContent = error.message;
    notice.hidden = false;
    notice.scrollIntoView({ block: "nearest" });
  } finally {
    document.body.removeAttribute("aria-busy");
  }
}

document.addEventListener("click", ({ target }) => {
  const pressed = target.closest("button[data-act]");
  const deed = pressed && deeds[pressed.dataset.act];
  if (deed) act(deed, pressed);
});
document.addEventListener("submit", (event) => {
  event.preventDefault();
  const deed = deeds[event.target.dataset.act];
  if (deed) act(deed, event.target);
});
act(list);
