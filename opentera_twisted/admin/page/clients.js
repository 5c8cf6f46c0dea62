/** The websockets at all gateways: search, sort, copy, disconnect. */

import { get, post, repeat } from "./api.js";
import { ago, byId, bytes, count, element, setText, showProblem } from "./dom.js";

const INTERVAL = 5000;

const text = (value) => (left, right) => String(left[value]).localeCompare(String(right[value]));
const COLUMNS = [
  { title: "Kind", name: "kind", order: text("kind") },
  { title: "UUID", name: "uuid", order: text("uuid") },
  { title: "Name", name: "name", order: text("name") },
  { title: "Address", name: "address", order: text("address") },
  { title: "Connected", name: "since", order: (left, right) => right.since - left.since },
  { title: "Queued", name: "queued", order: (left, right) => right.queued - left.queued },
  { title: "Recovery", name: "recovery", order: (left, right) => right.recovery - left.recovery },
  { title: "Gateway", name: "gateway", order: text("gateway") },
];

let mayWrite = false;
let sorted = COLUMNS[4];
let isReversed = false;
let clients = [];

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
      [recovery ? "yes" : "no", {}], [gateway.slice(0, 8), { class: "mono", title: gateway }],
    ].map(([value, attributes], index) => element("td", { "data-label": COLUMNS[index].title, ...attributes }, value)),
    element("td", {}, button("Copy", (target) => copy(uuid, target), `UUID ${uuid}`), " ",
      mayWrite ? button("Disconnect", () => disconnect(client), `${kind} ${uuid}`) : null));
}

function show() {
  const rows = [...clients].sort(sorted.order);
  if (isReversed) {
    rows.reverse();
  }
  const focused = document.activeElement?.dataset?.action;
  byId("clients-rows").replaceChildren(...rows.map(rowOf));
  if (focused !== undefined) {
    document.querySelector(`[data-action="${CSS.escape(focused)}"]`)?.focus();
  }
  for (const column of COLUMNS) {
    const direction = column !== sorted ? "none" : isReversed ? "descending" : "ascending";
    column.cell.setAttribute("aria-sort", direction);
    setText(column.cell.querySelector("span"), direction === "none" ? "" : isReversed ? " ↓" : " ↑");
  }
}

async function update() {
  const search = byId("clients-search").value.trim();
  try {
    const found = await get("/api/clients", { search });
    if (search !== byId("clients-search").value.trim()) {
      return;
    }
    clients = found.clients;
    const more = found.matching > clients.length ? `, the latest ${count(clients.length)} shown` : "";
    setText(byId("clients-state"), `${search ? `${count(found.matching)} of ` : ""}${count(found.total)} at all gateways${more}`);
    byId("clients-empty").hidden = clients.length > 0;
    setText(byId("clients-empty"), search ? "No websockets match the search." : "No websockets.");
    showProblem(byId("clients-problem"), "");
    show();
  } catch (problem) {
    showProblem(byId("clients-problem"), problem.message);
  }
}

/** @param {boolean} write - true if the page may disconnect */
export function startClients(write) {
  mayWrite = write;
  for (const column of COLUMNS) {
    column.cell = element("th", { scope: "col" }, element("button", {
      class: "plain",
      type: "button",
      onclick: () => {
        isReversed = column === sorted && !isReversed;
        sorted = column;
        show();
      },
    }, column.title, element("span", { "aria-hidden": "true" })));
  }
  byId("clients-head").replaceChildren(...COLUMNS.map(({ cell }) => cell), element("th", {}, element("span", { class: "hidden" }, "Actions")));
  byId("clients-search").addEventListener("input", update);
  repeat(INTERVAL, update);
}
