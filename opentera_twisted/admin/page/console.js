/** The console: polls the program's state each second; each panel has its own file. */

import { begin, get, post, repeat } from "./api.js";
import { Charts, RANGES } from "./charts.js";
import { startClients } from "./clients.js";
import { ago, byId, bytes, count, element, facts, setText, spoken } from "./dom.js";
import { startGateways } from "./gateways.js";
import { startPresence } from "./presence.js";
import { startProcedures } from "./procedures.js";
import { startServices } from "./services.js";
import { startTraffic } from "./traffic.js";
import { startTestWebSocket } from "./test-websocket.js";
import { showIncidents } from "./incidents.js";
import { startViews } from "./views.js";

const charts = new Charts(byId("tiles"));
let range = "minutes";
let samples = [];
let kept = 180;
let taken = 0;
let started = "";
let updated = 0; // when the shown figures arrived, by the page's own clock

const STALE = 5000; // milliseconds

function showStatus(state, text) {
  byId("status").dataset.state = state;
  setText(byId("status"), text);
}

function connection(redis, name) {
  const state = redis[name];
  const pill = element("span", { class: "pill", "data-state": state === "ready" ? "good" : "bad" }, state);
  return element("span", {}, pill, ` ${state === "ready" ? "for" : "not ready for"} ${ago(redis.since[name])}`);
}

function showLink(health) {
  const { redis, subscriptions } = health;
  const missing = subscriptions.wanted - subscriptions.acknowledged;
  const reconnects = redis.reconnects.client + redis.reconnects.subscriber;
  byId("link-facts").replaceChildren(facts([
    ["Commands", connection(redis, "client")],
    ["Subscriptions", connection(redis, "subscriber")],
    ["Topics", missing ? `${count(subscriptions.wanted)}, of which ${count(missing)} not acknowledged`
      : `${count(subscriptions.wanted)}, all acknowledged`],
    ["Reconnects", count(reconnects)],
    ["Gaps", redis.gaps ? `${count(redis.gaps)}: messages may have been missed` : "none"],
    ...(redis.cause ? [["Cause", redis.cause]] : []),
  ]));
  showNodes(redis.nodes);
}

function nodeRow([name, { role, slots, client, subscriber, topics, ready }]) {
  const state = ready ? "ready" : client === "ready" ? subscriber : client;
  const pill = element("span", { class: "pill", "data-state": ready ? "good" : "bad" }, state);
  const missing = topics.wanted - topics.acknowledged;
  return element("tr", {}, element("td", {}, name), element("td", {}, role), element("td", {}, pill),
    element("td", { class: "number", "data-label": "Slots" }, count(slots)),
    element("td", { class: "number", "data-label": "Topics" },
      missing ? `${count(topics.wanted)}, of which ${count(missing)} not acknowledged` : count(topics.wanted)));
}

function showNodes(nodes = {}) {
  const rows = Object.entries(nodes).map(nodeRow);
  byId("nodes").hidden = rows.length === 0;
  byId("nodes-rows").replaceChildren(...rows);
}

function countsOf(title, counts) {
  return group(title, Object.entries(counts).map(([name, value]) => [spoken(name), count(value)]));
}

function recoveryOf({ away, bytes: held, outcomes }) {
  const { recovered = 0, ...reasons } = outcomes;
  const lost = Object.entries(reasons).filter(([, value]) => value);
  return group("Recovery of events", [
    ["clients away now", count(away)],
    ["bytes held now", bytes(held).join(" ")],
    ["recovered", count(recovered)],
    ...(lost.length ? lost.map(([reason, value]) => [`not recovered: ${spoken(reason)}`, count(value)])
      : [["not recovered", count(0)]]),
  ]);
}

function group(title, pairs) {
  return element("div", {}, element("h3", {}, title), pairs.length ? facts(pairs) : element("p", { class: "note" }, "none"));
}

function show({ health, logins, limited, calls, incidents, episodes }) {
  const ready = health.status === "ready";
  const trouble = health.redis.cause || !health.reason ? "No link to Redis" : health.reason; // workers may be missing
  showStatus(ready ? "good" : "bad", `${ready ? "Ready" : trouble} for ${ago(health.since)}`);
  setTitle(ready);
  showIncidents(incidents, episodes);
  setText(byId("version"), `· version ${health.version}`);
  setText(byId("address"), health.redis.address);
  showLink(health);
  byId("counts").replaceChildren(
    countsOf("Logins", logins), recoveryOf(health.recovery), countsOf("Closed by a limit", limited), countsOf("Calls made", calls));
  const { redis, python, twisted } = health.versions;
  setText(byId("versions"), `opentera-twisted ${health.version} · Redis: ${redis ?? "unknown"} · Twisted ${twisted} · `
    + `Python ${python} · running for ${ago(health.started)}`);
}

function setTitle(isReady) {
  document.title = `${isReady ? "" : "✕ "}${byId("title").textContent}`;
}

function showCharts() {
  if (range === "minutes") {
    charts.show(samples, kept, range);
  }
}

async function showHour() {
  if (range !== "hour") {
    return;
  }
  const hour = await get("/api/hour").catch(() => null); // the status shows that there is no answer
  if (hour !== null && range === "hour") {
    charts.show(hour.samples, hour.kept, range);
  }
}

function select(chosen) {
  range = chosen;
  for (const button of document.querySelectorAll("[data-range]")) {
    button.setAttribute("aria-pressed", String(button.dataset.range === range));
  }
  setText(byId("range-text"), RANGES[range].text);
  showCharts();
  showHour();
}

async function update() {
  try {
    const state = await get("/api/state", { after: taken });
    if (state.health.started !== started) { // a restarted process has another token
      if (started) {
        samples = [];
        charts.clear();
        taken = 0;
        started = "";
        await begin();
        return;
      }
      started = state.health.started;
    }
    taken = state.taken;
    updated = performance.now();
    kept = state.kept;
    samples = [...samples, ...state.samples].slice(-kept);
    showCharts();
    show(state);
    byId("away").hidden = true;
  } catch (problem) {
    setText(byId("away"), `${problem.message} The page shows earlier data.`);
    byId("away").hidden = false;
  }
  showAge();
}

/** Show the age of the figures; grey out stale ones. A request that hangs does not stop this. */
function showAge() {
  const age = performance.now() - updated;
  const isStale = age > STALE;
  document.body.classList.toggle("stale", isStale);
  if (isStale) {
    showStatus("bad", updated === 0 ? "No answer" : `No answer for ${Math.round(age / 1000)} s`);
    setTitle(false);
  }
  byId("age").hidden = updated === 0;
  setText(byId("age"), age < 2500 ? "updated now" : `updated ${Math.round(age / 1000)} s ago`);
}

async function main() {
  let beginning = null;
  startViews();
  for (const button of document.querySelectorAll("[data-range]")) {
    button.addEventListener("click", () => select(button.dataset.range));
  }
  setInterval(showAge, 1000);
  await update();
  while (beginning === null) {
    beginning = await begin().catch(() => null);
    if (beginning === null) {
      await update();
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  setText(byId("title"), beginning.name);
  setText(byId("host"), `at ${beginning.host}`);
  const logout = byId("logout");
  logout.hidden = !beginning.session;
  logout.addEventListener("click", () => post("/logout", {}).finally(() => location.reload()));
  startPresence();
  startTraffic();
  startGateways();
  startProcedures();
  startClients(beginning.write);
  startServices(beginning.write);
  if (beginning.write) {
    startTestWebSocket(beginning.websockets);
  }
  repeat(10000, showHour, byId("tiles"));
  repeat(1000, update);
}

main();
