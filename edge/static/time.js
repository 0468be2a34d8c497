// ISO 8601 durations in seconds, and the server's clock as its replies tell it.

const ISO = /^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$/;
const TOLERANCE_MS = 2000; // the header tells whole seconds, and the way takes some

let ahead_ms = 0;

export function durationS(iso) {
  const [weeks, days, hours, minutes, seconds] = ISO.exec(iso).slice(1).map((digits) => Number(digits ?? 0));
  return (weeks * 7 + days) * 86400 + hours * 3600 + minutes * 60 + seconds;
}

/** A visitor's clock may be wrong; the promise is kept by the server's. */
export function setByServer(dateHeader) {
  const difference_ms = Date.parse(dateHeader ?? "") - Date.now();
  if (Number.isFinite(difference_ms)) ahead_ms = Math.abs(difference_ms) > TOLERANCE_MS ? difference_ms : 0;
}

export function nowS() {
  return (Date.now() + ahead_ms) / 1000;
}
