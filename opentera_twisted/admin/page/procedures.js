/** Calls, errors and durations of all servers' procedures. */

import { get, repeat } from "./api.js";
import { amount, byId, count, duration, element, number, setText, showProblem, spoken } from "./dom.js";
import { byNumber, byText, sorting } from "./table.js";

const INTERVAL = 5000;
const PATIENCE = 8000;

const errorsOf = ({ errors }) => Object.values(errors).reduce((sum, each) => sum + each, 0);
const seconds = (name) => byNumber((row) => row.seconds[name] ?? -1);
const COLUMNS = [
  { title: "Procedure", order: byText((row) => `${row.server} ${row.procedure}`) },
  { title: "Calls", order: byNumber((row) => row.calls), number: true },
  { title: "Per s", order: byNumber((row) => row.rate ?? -1), number: true },
  { title: "Errors", order: byNumber(errorsOf), number: true },
  { title: "p50", order: seconds("p50"), number: true },
  { title: "p90", order: seconds("p90"), number: true },
  { title: "p99", order: seconds("p99"), number: true },
];

let sorted;
let rows = [];
let before = new Map();
let taken = 0;

function rowOf(row) {
  const errors = errorsOf(row);
  const share = row.calls && errors ? ` (${amount((100 * errors) / row.calls)} %)` : "";
  const codes = Object.entries(row.errors).map(([code, times]) => `${spoken(code)} ${count(times)}`).join(", ");
  const where = row.servers > 1 ? `${row.server}, ${number(row.servers, "server")}` : row.server;
  const numbers = [
    count(row.calls), row.rate === undefined ? "–" : amount(row.rate),
    [element("span", { class: errors ? "bad" : null }, `${count(errors)}${share}`), codes ? element("span", { class: "under" }, codes) : null],
    ...["p50", "p90", "p99"].map((name) => (row.seconds[name] === undefined ? "–" : duration(row.seconds[name]))),
  ];
  return element("tr", {},
    element("td", { "data-label": COLUMNS[0].title },
      element("span", { class: "mono" }, row.procedure || "(refused without running)"), element("span", { class: "under mono" }, where)),
    ...numbers.map((value, index) => element("td", { class: "number", "data-label": COLUMNS[index + 1].title }, ...[value].flat())));
}

function show() {
  byId("procedures-rows").replaceChildren(...sorted(rows).map(rowOf));
}

async function update() {
  try {
    const page = await get("/api/procedures", {}, PATIENCE);
    const passed = page.time - taken;
    if (passed <= 0) { // the same figures again
      return;
    }
    rows = page.procedures.map((row) => {
      const earlier = before.get(`${row.server} ${row.procedure}`);
      const isKnown = earlier !== undefined && row.calls >= earlier; // a server may have restarted
      return { ...row, rate: isKnown ? (row.calls - earlier) / passed : undefined };
    });
    before = new Map(rows.map(({ server, procedure, calls }) => [`${server} ${procedure}`, calls]));
    taken = page.time;
    const notes = [
      page.silent ? `${number(page.silent, "server")} without figures` : "",
      page.topics > page.asked + page.silent ? `${count(page.topics - page.asked - page.silent)} more servers not asked` : "",
      page.omitted ? `${count(page.omitted)} more procedures not shown` : "",
    ];
    setText(byId("procedures-state"), ["all servers, since their start", ...notes].filter(Boolean).join("; "));
    byId("procedures-empty").hidden = rows.length > 0;
    byId("procedures-table").hidden = rows.length === 0;
    showProblem(byId("procedures-problem"), "");
    show();
  } catch (problem) {
    showProblem(byId("procedures-problem"), problem.message);
  }
}

export function startProcedures() {
  sorted = sorting(byId("procedures-head"), COLUMNS, COLUMNS[0], show);
  repeat(INTERVAL, update, byId("procedures"));
}
