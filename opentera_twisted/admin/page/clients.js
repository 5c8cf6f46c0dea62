/** The websockets at all gateways: search, sort, copy, disconnect. */

import { get, post, repeat } from "./api.js";
import { ago, byId, bytes, count, element, setText, showProblem } from "./dom.js";
import { learnNames, nameOf } from "./gateways.js";
import { byNumber, byText, replaceRows, sorting } from "./table.js";

const INTERVAL = 5000;

const COLUMNS = [
  { title: "Kind", order: byText(({ kind }) => kind) },
  { title: "UUID", order: byText(({ uuid }) => uuid) },
  { title: "Name", order: byText(({ name }) => name) },
  { title: "Address", order: byText(({ address }) => address) },
  { title: "Connected", order: byNumber(({ since }) => since) },
  { title: "Queued", order: byNumber(({ queued }) => queued), number: true },
  { title: "Recovery", order: byNumber(({ recovery }) => recovery) },
  { title: "Gateway", order: byText(({ gateway }) => nameOf(gateway)) },
  { title: "Actions" },
];

let mayWrite = false;
let sorted;
let clients = [];
let requests = 0; // only the reply to the latest one counts

async function disconnect({ kind, uuid, name }) {
  const who = name ? `${name} (${kind} ${uuid})` : `${kind} ${uuid}`;
  if (!confirm(`Disconnect ${who}? All websockets of this ${kind} close.`)) {
    return;
  }
  try {
    await post("/api/disconnect", { kind, uuid });
    await update();
  } catch (problem) {
    showProblem(byId("clients-problem"), problem.message);
  }
}

async function copy(uuid, button) {
  await navigator.clipboard?.writeText(uuid).catch(() => {});
  setText(button, "Copied");
  setTimeout(() => setText(button, "Copy"), 1500);
}

function rowOf(client) {
  const { kind, uuid, name, address, since, queued, recovery, gateway } = client;
  const button = (label, action, about) => element("button", { type: "button", "aria-label": `${label} ${about}`,
    "data-action": `${label} ${uuid} ${since}`, onclick: ({ currentTarget }) => action(currentTarget) }, label);
  return element("tr", {},
    ...[
      [kind, {}], [uuid, { class: "mono" }], [name, {}], [address, { class: "mono" }],
      [ago(new Date(since * 1000).toISOString()), {}], [bytes(queued).join(" "), { class: "number" }],
      [recovery ? "yes" : "no", {}], [nameOf(gateway), { title: gateway }],
    ].map(([value, attributes], index) => element("td", { "data-label": COLUMNS[index].title, ...attributes }, value)),
    element("td", {}, button("Copy", (target) => copy(uuid, target), `UUID ${uuid}`), " ",
      mayWrite ? button("Disconnect", () => disconnect(client), `${kind} ${uuid}`) : null));
}

function show() {
  replaceRows(byId("clients-rows"), sorted(clients).map(rowOf));
}

async function update() {
  const request = (requests += 1);
  const search = byId("clients-search").value.trim();
  try {
    const found = await get("/api/clients", { search });
    await learnNames(found.clients.map(({ gateway }) => gateway)).catch(() => {}); // then ids are shown
    if (request !== requests) {
      return;
    }
    clients = found.clients;
    const more = found.matching > clients.length ? `, the latest ${count(clients.length)} shown` : "";
    setText(byId("clients-state"), `${search ? `${count(found.matching)} of ` : ""}${count(found.total)} at all gateways${more}`);
    byId("clients-empty").hidden = clients.length > 0;
    byId("clients-table").hidden = clients.length === 0;
    setText(byId("clients-empty"), search ? "No websockets match the search." : "No websockets.");
    showProblem(byId("clients-problem"), "");
    show();
  } catch (problem) {
    if (request === requests) {
      showProblem(byId("clients-problem"), problem.message);
    }
  }
}

/** @param {boolean} write - true if the page may disconnect */
export function startClients(write) {
  mayWrite = write;
  sorted = sorting(byId("clients-head"), COLUMNS, COLUMNS[4], show);
  byId("clients-search").addEventListener("input", update);
  repeat(INTERVAL, update, byId("clients"));
}
