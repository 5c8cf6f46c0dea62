/** All gateways of the bus, and their sums. */

import { get, repeat } from "./api.js";
import { ago, byId, bytes, count, element, setText, showProblem } from "./dom.js";

const INTERVAL = 5000;

const names = new Map();

const total = (counts) => Object.values(counts ?? {}).reduce((sum, number) => sum + number, 0);

function figuresOf({ gaps = 0, clients, delivered = 0, logins = {}, queued = 0 }) {
  const { accepted = 0, ...refused } = logins;
  return { gaps, clients: total(clients), delivered, accepted, refused: total(refused), queued };
}

function cells({ gaps, clients, delivered, accepted, refused, queued }) {
  const labels = ["Gaps", "Clients", "Frames", "Logins", "Refused", "Queued"];
  return [...[gaps, clients, delivered, accepted, refused].map(count), bytes(queued).join(" ")].map((text, index) =>
    element("td", { class: "number", "data-label": labels[index] }, text));
}

function rowOf(gateway) {
  const answers = gateway.link !== "no answer";
  const pill = element("span", { class: "pill", "data-state": gateway.link === "ready" ? "good" : "bad" }, gateway.link);
  if (!answers) {
    return element("tr", {}, element("td", { class: "mono" }, gateway.gateway), element("td", {}), element("td", {}, pill),
      element("td", { colspan: 6 }));
  }
  const since = ago(new Date(gateway.started * 1000).toISOString());
  return element("tr", {},
    element("td", { title: gateway.gateway }, `${gateway.name} at ${gateway.host}, process ${gateway.process}`),
    element("td", {}, gateway.version), element("td", {}, pill, ` running for ${since}`), ...cells(figuresOf(gateway)));
}

function sumOf(figures) {
  const sum = { gaps: 0, clients: 0, delivered: 0, accepted: 0, refused: 0, queued: 0 };
  for (const each of figures) {
    for (const name of Object.keys(sum)) {
      sum[name] += each[name];
    }
  }
  return element("tr", { class: "sum" }, element("td", { colspan: 3 }, "Sum since the starts"), ...cells(sum));
}

/** Return a gateway's name and host; its id while they are unknown. */
export const nameOf = (id) => names.get(id) ?? id;

/** Request the gateways if one of these is unknown. */
export async function learnNames(ids) {
  if (ids.some((id) => !names.has(id))) {
    await list();
  }
}

async function list() {
  const found = await get("/api/gateways");
  names.clear();
  for (const { gateway, name, host } of found) {
    names.set(gateway, name === undefined ? gateway : `${name} at ${host}`);
  }
  return found;
}

export function startGateways() {
  repeat(INTERVAL, async () => {
    try {
      const found = await list();
      const answered = found.filter(({ link }) => link !== "no answer");
      byId("gateways-rows").replaceChildren(...found.map(rowOf), sumOf(answered.map(figuresOf)));
      const silent = found.length - answered.length;
      setText(byId("gateways-state"), `${count(found.length)} found${silent ? `, ${count(silent)} without an answer` : ""}`);
      showProblem(byId("gateways-problem"), "");
    } catch (problem) {
      showProblem(byId("gateways-problem"), problem.message);
    }
  }, byId("gateways"));
}
