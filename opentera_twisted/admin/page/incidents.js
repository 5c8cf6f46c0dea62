/** Refused logins, slow clients, reconnects and gaps, with their times. */

import { ago, byId, clock, count, element, spoken } from "./dom.js";

const LISTED = 30;
const ALWAYS = ["gap:", "reconnect:client", "reconnect:subscriber", "slow:"];

function textOf(name) {
  const [kind, ...rest] = name.split(":");
  const detail = rest.join(":");
  switch (kind) {
    case "refused":
      return `Login refused: ${detail}`;
    case "slow":
      return "Slow client closed";
    case "gap":
      return "Gap: messages may have been missed";
    case "reconnect":
      return detail === "client" ? "Reconnected: commands" : "Reconnected: subscriptions";
    case "limit":
      return `Client closed: ${spoken(detail)}`;
    default:
      return name;
  }
}

const seconds = (time) => new Date(time * 1000).toISOString();

/** @param {Record<string, number>} totals @param {{name: string, count: number, first: number, last: number}[]} episodes */
export function showIncidents(totals, episodes) {
  const latest = new Map([...episodes].reverse().map(({ name, last }) => [name, last]));
  const refused = Object.keys(totals).some((name) => name.startsWith("refused:"));
  const rows = Object.entries(totals).filter(([name, total]) => total || ALWAYS.includes(name)).map(([name, total]) => ({ name, total }));
  if (!refused) {
    rows.push({ name: "", total: 0 });
  }
  rows.sort((left, right) => right.total - left.total || left.name.localeCompare(right.name));
  byId("incidents-rows").replaceChildren(...rows.map(({ name, total }) => {
    const last = latest.get(name);
    const passed = last === undefined ? "" : ago(seconds(last)).split(" ").slice(0, 2).join(" ");
    const when = last === undefined ? (total ? "earlier" : "") : passed === "now" ? passed : `${passed} ago`;
    return element("tr", {}, element("td", { "data-label": "What" }, name ? textOf(name) : "Logins refused"),
      element("td", { class: total ? "number bad" : "number", "data-label": "Times" }, count(total)),
      element("td", { class: "number", "data-label": "Latest" }, when));
  }));
  byId("episodes").replaceChildren(...episodes.slice(0, LISTED).map(({ name, count: times, first, last }) => {
    const span = last - first < 1.5 ? clock(last) : `${clock(first)} – ${clock(last)}`;
    return element("li", {}, element("time", { datetime: seconds(first) }, span), ` ${textOf(name)}${times > 1 ? ` × ${count(times)}` : ""}`);
  }));
  byId("episodes-title").hidden = episodes.length === 0;
}
