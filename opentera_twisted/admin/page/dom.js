/** Elements, and formats of numbers and times. */

/**
 * Make an element with attributes (names that begin with "on" add listeners) and children.
 *
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string | null)} children
 * @returns {any}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      made.addEventListener(name.slice(2), value);
    } else if (value === true) {
      made.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(name, value);
    }
  }
  made.append(...children.filter((child) => child !== null).map((child) => (typeof child === "string" ? inOrder(child) : child)));
  return made;
}

/** Replace characters that change the writing direction, so that foreign text cannot reorder its surroundings. */
export function inOrder(text) {
  return text.replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

/** @param {string} id @returns {any} */
export function byId(id) {
  return document.getElementById(id);
}

/** Set text only if it differs, since a screen reader announces every change. */
export function setText(target, text) {
  if (target.textContent !== text) {
    target.textContent = text;
  }
}

/** Show a problem, or hide the element if the text is empty. */
export function showProblem(target, text) {
  setText(target, text);
  target.hidden = !text;
}

/** Make a list of terms and their values. */
export function facts(pairs) {
  return element("dl", { class: "facts" },
    ...pairs.flatMap(([term, what]) => [element("dt", {}, term), element("dd", {}, what)]));
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1, notation: "compact" });

/** @param {number} value */
export const count = (value) => whole.format(value);

/** @param {number} value - a rate or an amount; formatted with three digits */
export const amount = (value) => (value === 0 ? "0" : value < 0.05 ? "<0.1" : short.format(value));

/** Return a number with its noun, such as "1 procedure". */
export const number = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/** Return a name of the program's as words. */
export const spoken = (name) => name.replaceAll("_", " ");

/** @param {number} seconds - a duration */
export function duration(seconds) {
  const precise = (value) => (value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0));
  return seconds < 1 ? `${precise(seconds * 1000)} ms` : `${precise(seconds)} s`;
}

/** @param {number} seconds - since the epoch @returns {string} the time of day */
export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

/** @param {number} bytes @returns {[string, string]} */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return [amount(value), units[unit]];
}

/** @param {number} seconds - since the epoch */
export function timeOf(seconds) {
  const made = element("time", { datetime: new Date(seconds * 1000).toISOString() });
  made.textContent = clock(seconds);
  return made;
}

/** Format the time since an instant, in two units at most. */
export function ago(iso) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(iso)) / 1000));
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) {
    return "now";
  }
  let left = seconds;
  return units.slice(first, first + 2).map(([name, size]) => {
    const number = Math.floor(left / size);
    left -= number * size;
    return number ? `${number} ${name}` : "";
  }).filter(Boolean).join(" ");
}
