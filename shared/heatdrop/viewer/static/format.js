// Formats values for people.

const DAY_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** The last part of an S3 key. */
export function fileName(key) {
  return key.slice(key.lastIndexOf("/") + 1) || key;
}

export function moment(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? String(text) : DAY_AND_TIME.format(date);
}

/** A date given as YYYY-MM-DD, without shifting it by the time zone. */
export function day(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? String(text) : date.toLocaleDateString(undefined, { dateStyle: "medium", timeZone: "UTC" });
}

/** The time if it was today, else the date. */
export function shortMoment(text) {
  const date = new Date(text);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString(undefined, { timeStyle: "short" }) : date.toLocaleDateString(undefined, { dateStyle: "medium" });
}

export function bytes(count) {
  if (!Number.isFinite(count)) return "unknown size";
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${(count / 1e3).toFixed(0)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

export function milliseconds(value) {
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

export function score(value) {
  return value.toFixed(3);
}

/** A raw value of a map with three significant digits. */
export function raw(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e4 ? value.toPrecision(3) : value.toExponential(2);
}

/** "noise_level" to "Noise level", "auc_macro" to "AUC macro". */
export function words(name) {
  const text = name.replaceAll("_", " ").replace(/\b(auc|ssim)\b/g, (short) => short.toUpperCase());
  return text.charAt(0).toUpperCase() + text.slice(1);
}
