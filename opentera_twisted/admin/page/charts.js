/** Tiles: a current value and a small chart of its history. */

import { amount, bytes, element, setText } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 180;
const HEIGHT = 48;

const rate = (value) => [amount(value), "/s"];
const TILES = [
  { name: "clients", title: "Open websockets", show: (value) => [amount(value), ""] },
  { name: "logins", title: "Logins", show: rate },
  { name: "delivered", title: "Frames to clients", show: rate },
  { name: "received", title: "Messages received", show: rate },
  { name: "published", title: "Messages published", show: rate },
  { name: "calls", title: "Calls completed", show: rate },
  { name: "delay", title: "Reactor delay", show: (value) => [amount(value * 1000), "ms"], least: 0.02 },
  { name: "backlog", title: "Queued for clients", show: bytes, least: 1024 },
];

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  return made;
}

/** Return the paths of a chart, the latest sample at the right. */
export function paths(values, most, kept) {
  const step = WIDTH / (kept - 1);
  const first = WIDTH - (values.length - 1) * step;
  const points = values.map((value, index) => {
    const y = HEIGHT - 2 - (value / most) * (HEIGHT - 6);
    return `${(first + index * step).toFixed(1)} ${y.toFixed(1)}`;
  });
  if (!points.length) {
    return { line: "", area: "" };
  }
  const line = `M${points.join("L")}`;
  return { line, area: `${line}L${WIDTH} ${HEIGHT}L${first.toFixed(1)} ${HEIGHT}Z` };
}

class Tile {
  constructor({ name, title, show, least = 1 }) {
    this.name = name;
    this.title = title;
    this.show = show;
    this.least = least;
    this.value = element("span");
    this.unit = element("span", { class: "unit" });
    this.line = shape("path", { class: "line" });
    this.area = shape("path", { class: "area" });
    this.chart = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.chart.append(this.area, this.line);
    this.item = element("li", { class: "tile", "data-name": name },
      element("p", { class: "label" }, title),
      element("p", { class: "value" }, this.value, this.unit), this.chart);
  }

  update(samples, kept) {
    const values = samples.map((sample) => sample[this.name]);
    const greatest = values.length ? Math.max(...values) : 0;
    const [now, unit] = this.show(values.at(-1) ?? 0);
    setText(this.value, now);
    setText(this.unit, unit);
    const { line, area } = paths(values, Math.max(greatest, this.least), kept);
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
    const [most, mostUnit] = this.show(greatest);
    this.chart.setAttribute("aria-label", `${this.title}: ${now} ${unit} now, at most ${most} ${mostUnit}`);
  }
}

/** All tiles and their samples. */
export class Tiles {
  constructor(list) {
    this.samples = [];
    this.tiles = TILES.map((tile) => new Tile(tile));
    list.append(...this.tiles.map((tile) => tile.item));
  }

  /** Add new samples; each chart shows the last `kept`. */
  add(samples, kept) {
    this.samples = [...this.samples, ...samples].slice(-kept);
    for (const tile of this.tiles) {
      tile.update(this.samples, kept);
    }
  }

  clear() {
    this.samples = [];
  }
}
