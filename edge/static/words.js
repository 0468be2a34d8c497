// How numbers read on the page.

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

/** The largest unit that divides it: "1 day", "90 minutes". */
export function inWords(seconds) {
  const [unit, size_s] = UNITS.find(([, size_s]) => seconds % size_s === 0 && seconds >= size_s) ?? UNITS.at(-1);
  const count = Math.round(seconds / size_s);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** For an estimate: "about 12 s", "about 3 min". */
export function about(seconds) {
  return seconds < 90 ? `about ${Math.max(1, Math.ceil(seconds))} s` : `about ${Math.round(seconds / 60)} min`;
}

/** "0:07", "59:12", "23:59:12". */
export function countdown(seconds) {
  const left = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, place) => (place ? String(part).padStart(2, "0") : String(part))).join(":");
}

export function ordinal(count) {
  const ending = { one: "st", two: "nd", few: "rd", other: "th" };
  return `${count}${ending[new Intl.PluralRules("en", { type: "ordinal" }).select(count)]}`;
}

export function timesSign(size) {
  return size.replace("x", " × ");
}
