// Durations in words and as countdowns, and the server's clock as its replies tell it.

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const ISO = /^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$/;

let ahead_ms = 0;

export function durationS(iso) {
  const [weeks, days, hours, minutes, seconds] = ISO.exec(iso).slice(1).map((digits) => Number(digits ?? 0));
  return (weeks * 7 + days) * 86400 + hours * 3600 + minutes * 60 + seconds;
}

export function inWords(seconds) {
  const [unit, size_s] = UNITS.find(([, size_s]) => seconds % size_s === 0 && seconds >= size_s) ?? ["second", 1];
  const count = Math.round(seconds / size_s);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** Roughly, for an estimate: "about 12 s", "about 3 min". */
export function about(seconds) {
  return seconds < 90 ? `about ${Math.max(1, Math.ceil(seconds))} s` : `about ${Math.round(seconds / 60)} min`;
}

export function countdown(seconds) {
  const left = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, place) => (place ? String(part).padStart(2, "0") : String(part))).join(":");
}

/** A visitor's clock may be wrong; the promise is kept by the server's. */
export function setByServer(dateHeader) {
  const told_ms = Date.parse(dateHeader ?? "");
  if (Number.isFinite(told_ms) && Math.abs(told_ms - Date.now()) > 2000) ahead_ms = told_ms - Date.now();
}

export function nowS() {
  return (Date.now() + ahead_ms) / 1000;
}
