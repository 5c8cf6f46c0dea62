/** Charts of the gateway's history, with axes, a readout, and a scale that a burst does not flatten. */

import { amount, bytes, clock, element, setText } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 96;
const LEFT = 46; // of the plot, beside the labels of the scale
const TOP = 16; // below the mark of a burst
const BOTTOM = 16; // above the labels of the time
const BURST = 3; // times the usual greatest value
const MARKS = 12;

const rate = (value) => [amount(value), "/s"];
const CHARTS = [
  { name: "clients", title: "Open websockets", show: (value) => [amount(value), ""] },
  { name: "logins", title: "Logins", show: rate },
  { name: "refused", title: "Logins refused", show: rate },
  { name: "delivered", title: "Frames to clients", show: rate },
  { name: "received", title: "Messages received", show: rate },
  { name: "published", title: "Messages published", show: rate },
  { name: "delay", title: "Reactor delay", show: (value) => (value < 1 ? [amount(value * 1000), "ms"] : [amount(value), "s"]), least: 0.02 },
  { name: "backlog", title: "Queued for clients", show: bytes, least: 1024, base: 1024 },
];

/** Ranges: seconds between samples, and the labels of the time axis from the left to the right. */
export const RANGES = {
  minutes: { step: 1, labels: ["−3 min", "−2 min", "−1 min", "now"], text: "the last 3 minutes" },
  hour: { step: 20, labels: ["−60 min", "−40 min", "−20 min", "now"], text: "the last hour" },
};

/**
 * Choose the top of a scale: a round number above the values, without rare bursts.
 *
 * @param {number[]} values
 * @param {number} least - the top is at least this
 * @param {number} base - 1024 for bytes
 */
export function topOf(values, least, base = 1000) {
  const present = values.filter((value) => value > 0).sort((left, right) => left - right);
  const greatest = present.at(-1) ?? 0;
  const usual = Math.max(present[Math.floor((present.length - 1) * 0.9)] ?? 0, least);
  return round(Math.max(greatest > BURST * usual ? usual * 1.25 : greatest, least), base);
}

function round(value, base) {
  const unit = base === 1024 ? 1024 ** Math.floor(Math.log(value) / Math.log(1024)) : 1;
  const digit = 10 ** Math.floor(Math.log10(value / unit));
  return [1, 2, 3, 4, 5, 6, 8, 10].find((step) => step * digit * unit >= value * 0.999) * digit * unit;
}

/** Return the index of the greatest value of each burst: a run of values above the top. */
export function burstsOf(values, top) {
  const found = [];
  values.forEach((value, index) => {
    if (value <= top) {
      return;
    }
    const isNew = index === 0 || values[index - 1] <= top;
    if (isNew) {
      found.push(index);
    } else if (value > values[found.at(-1)]) {
      found[found.length - 1] = index;
    }
  });
  return found;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  if (text !== undefined) {
    made.textContent = text;
  }
  return made;
}

class Chart {
  constructor({ name, title, show, least = 1, base = 1000 }, charts) {
    Object.assign(this, { name, title, show, least, base, charts });
    this.values = [];
    this.value = element("span");
    this.unit = element("span", { class: "unit" });
    this.readout = element("p", { class: "readout" });
    this.svg = shape("svg", { role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuenow": 0, height: HEIGHT });
    this.item = element("li", { class: "tile", "data-name": name },
      element("p", { class: "label" }, title),
      element("div", { class: "bar" }, element("p", { class: "value" }, this.value, this.unit), this.readout), this.svg);
    this.svg.addEventListener("pointermove", ({ offsetX }) => this.point(offsetX));
    this.svg.addEventListener("pointerleave", () => charts.point(null));
    this.svg.addEventListener("blur", () => charts.point(null));
    this.svg.addEventListener("keydown", (event) => this.press(event));
  }

  get plot() {
    return Math.max(this.width - LEFT - 4, 1);
  }

  get width() {
    return this.svg.clientWidth || 240;
  }

  /** Return the place of a sample by its time: a busy program takes fewer samples. */
  x(index) {
    const { samples } = this.charts;
    return LEFT + this.plot * (1 - (samples.at(-1).time - samples[index].time) / this.span);
  }

  get span() {
    return (this.kept - 1) * RANGES[this.range].step;
  }

  y(value) {
    return HEIGHT - BOTTOM - (Math.min(value, this.top) / this.top) * (HEIGHT - BOTTOM - TOP);
  }

  point(offset) {
    const { samples } = this.charts;
    const distances = samples.map((_, index) => Math.abs(this.x(index) - offset));
    this.charts.point(samples.length ? distances.indexOf(Math.min(...distances)) : null);
  }

  press(event) {
    const last = this.values.length - 1;
    const now = this.charts.cursor ?? last + 1;
    const target = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 20, PageDown: now + 20, Home: 0, End: last, Escape: null }[event.key];
    if (target !== undefined && this.values.length) {
      event.preventDefault();
      this.charts.point(target === null ? null : Math.min(Math.max(target, 0), last));
    }
  }

  update(samples, kept, range) {
    this.values = samples.map((sample) => sample[this.name] ?? 0);
    this.kept = kept;
    this.range = range;
    this.top = topOf(this.values, this.least, this.base);
    this.draw();
  }

  draw() {
    const { values, range, top } = this;
    this.svg.replaceChildren(...this.axes());
    if (values.length) {
      const points = values.map((value, index) => `${this.x(index).toFixed(1)} ${this.y(value).toFixed(1)}`);
      const floor = HEIGHT - BOTTOM;
      const line = `M${points.join("L")}`;
      this.svg.append(
        shape("path", { class: "area", d: `${line}L${this.x(values.length - 1).toFixed(1)} ${floor}L${this.x(0).toFixed(1)} ${floor}Z` }),
        shape("path", { class: "line", d: line }), ...this.marks());
    }
    const greatest = Math.max(0, ...values);
    const clipped = greatest > top ? `; the scale ends at ${this.show(top).join(" ")}` : "";
    const label = `${this.title}: ${this.show(values.at(-1) ?? 0).join(" ")} now, at most ${this.show(greatest).join(" ")} in ${RANGES[range].text}${clipped}`;
    this.svg.setAttribute("aria-label", label);
    this.showCursor();
  }

  axes() {
    const floor = HEIGHT - BOTTOM;
    const scale = [1, 0.5, 0].flatMap((part) => {
      const y = this.y(this.top * part);
      return [shape("line", { class: "grid", x1: LEFT, x2: LEFT + this.plot, y1: y, y2: y }),
        shape("text", { x: LEFT - 5, y: y + 3, "text-anchor": "end" }, part ? this.show(this.top * part).join(" ") : "0")];
    });
    const { labels } = RANGES[this.range];
    const shown = this.plot < 190 ? [labels[0], "", "", labels.at(-1)] : labels;
    return [...scale, ...shown.flatMap((text, index) => {
      const x = LEFT + (this.plot * index) / (labels.length - 1);
      const anchor = index === labels.length - 1 ? "end" : "middle";
      return [shape("line", { class: "grid", x1: x, x2: x, y1: floor, y2: floor + 3 }),
        shape("text", { x, y: HEIGHT - 3, "text-anchor": anchor }, text)];
    })];
  }

  /** Mark the bursts that the scale clips, and name the greatest. */
  marks() {
    const bursts = burstsOf(this.values, this.top).sort((left, right) => this.values[right] - this.values[left]).slice(0, MARKS);
    return bursts.flatMap((index, number) => {
      const x = this.x(index);
      const mark = shape("path", { class: "burst", d: `M${x - 4} ${TOP - 2}L${x + 4} ${TOP - 2}L${x} ${TOP - 9}Z` });
      if (number) {
        return [mark];
      }
      const isRight = x > LEFT + this.plot / 2;
      return [mark, shape("text", { class: "burst", x: x + (isRight ? -7 : 7), y: TOP - 2, "text-anchor": isRight ? "end" : "start" },
        this.show(this.values[index]).join(" "))];
    });
  }

  /** Show the value at the cursor, or the latest. */
  showCursor() {
    const { values, charts: { cursor, samples } } = this;
    const index = cursor ?? values.length - 1;
    const [now, unit] = this.show(values.at(-1) ?? 0);
    setText(this.value, now);
    setText(this.unit, unit);
    this.svg.querySelector(".cursor")?.remove();
    this.svg.setAttribute("aria-valuemax", Math.max(values.length - 1, 0));
    this.svg.setAttribute("aria-valuenow", Math.max(index, 0));
    const at = samples[index];
    const text = at ? `${clock(at.time)} · ${this.show(values[index]).join(" ")}` : "no samples yet";
    this.svg.setAttribute("aria-valuetext", text);
    setText(this.readout, cursor === null || !at ? "" : text);
    if (cursor !== null && at) {
      const x = this.x(index);
      const group = shape("g", { class: "cursor" });
      group.append(shape("line", { x1: x, x2: x, y1: TOP - 4, y2: HEIGHT - BOTTOM }),
        shape("circle", { cx: x, cy: this.y(values[index]), r: 3 }));
      this.svg.append(group);
    }
  }
}

/** All charts, with one cursor. */
export class Charts {
  constructor(list) {
    this.samples = [];
    this.cursor = null;
    this.kept = 2;
    this.range = "minutes";
    this.charts = CHARTS.map((chart) => new Chart(chart, this));
    list.append(...this.charts.map((chart) => chart.item));
    new ResizeObserver(() => this.draw()).observe(list);
  }

  /** Show samples of a range, which has room for `kept`. */
  show(samples, kept, range) {
    const at = this.cursor === null ? undefined : this.samples[this.cursor]?.time;
    const oldest = (samples.at(-1)?.time ?? 0) - (kept - 1) * RANGES[range].step;
    samples = samples.filter((sample) => sample.time >= oldest - 0.5);
    Object.assign(this, { samples, kept, range });
    const moved = samples.findIndex(({ time }) => time === at);
    this.cursor = moved < 0 ? null : moved; // it stays at its sample
    this.draw();
  }

  draw() {
    for (const chart of this.charts) {
      chart.update(this.samples, this.kept, this.range);
    }
  }

  point(index) {
    this.cursor = index === null || index < 0 || index >= this.samples.length ? null : index;
    for (const chart of this.charts) {
      chart.showCursor();
    }
  }

  clear() {
    this.show([], this.kept, this.range);
  }
}
