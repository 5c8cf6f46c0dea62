/** Topics and their messages; polling keeps them subscribed. */

import { get } from "./api.js";
import { byId, bytes, count, element, setText, showProblem, timeOf } from "./dom.js";

const INTERVAL = 1000;
const KEPT = 200;
const LISTED = 100;

let watching = false;
let patterns = "";
let serial = 0;
let after = 0;
let gaps = 0;
let rows = [];

/** Make a message's row: one line, and the whole body when opened. */
function rowOf(message) {
  const body = typeof message.body === "string" ? message.body : JSON.stringify(message.body, null, 2);
  const details = element("details", {},
    element("summary", {}, timeOf(message.time),
      element("span", { class: "what" }, message.summary || message.form),
      element("span", { class: "topic" }, message.topic)));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) {
      details.append(element("p", { class: "hidden" }, `${message.form}, ${message.bytes} bytes`), element("pre", { tabindex: 0 }, body ?? ""));
    }
  });
  return { item: element("li", {}, details), text: `${message.topic} ${message.summary} ${body}`.toLowerCase() };
}

function note(text) {
  return { item: element("li", { class: "gap" }, text), text: null };
}

function applyFilter() {
  const wanted = byId("filter").value.trim().toLowerCase();
  let visible = 0;
  for (const { item, text } of rows) {
    item.hidden = text !== null && !text.includes(wanted);
    visible += !item.hidden;
  }
  const empty = byId("messages-empty");
  empty.hidden = visible > 0;
  setText(empty, rows.length ? "No messages match the filter." : "No messages yet.");
}

function addMessages(page) {
  const added = page.messages.map(rowOf).reverse();
  if (page.skipped) {
    added.push(note(`${count(page.skipped)} messages skipped: too many to show`));
  }
  if (page.gaps > gaps) {
    added.unshift(note("gap in the link to Redis: messages may have been missed"));
  }
  gaps = page.gaps;
  if (!added.length) {
    return;
  }
  const list = byId("messages");
  list.prepend(...added.map(({ item }) => item));
  rows = [...added, ...rows];
  for (const { item } of rows.splice(KEPT)) {
    item.remove();
  }
  applyFilter();
}

function showTopics(topics) {
  byId("topics-rows").replaceChildren(...topics.slice(0, LISTED).map(({ topic, count: number, bytes: size }) =>
    element("tr", {},
      element("td", { class: "topic" }, element("button", {
        class: "plain", type: "button", title: "Show only this topic", "data-topic": topic,
      }, topic)),
      element("td", { class: "number" }, count(number)),
      element("td", { class: "number" }, bytes(size).join(" ")))));
  byId("topics-empty").hidden = topics.length > 0;
}

function begin() {
  watching = true;
  const requested = byId("patterns").value.trim();
  if (requested !== patterns) {
    patterns = requested;
    serial = 0;
    rows = [];
    byId("messages").replaceChildren();
    applyFilter();
  }
  setText(byId("watch"), "Pause");
  setText(byId("traffic-state"), "Subscribing…");
}

function pause(text) {
  watching = false;
  setText(byId("watch"), "Watch");
  setText(byId("traffic-state"), text);
}

async function update() {
  const requested = patterns;
  try {
    const page = await get("/api/traffic", { patterns: requested, serial, after });
    if (!watching || requested !== patterns) {
      return;
    }
    if (page.serial !== serial) { // the watch had expired and restarted
      gaps = 0;
    }
    ({ serial, count: after } = page);
    setText(byId("traffic-state"), `Watching: ${count(page.count)} messages on ${count(page.topics.length)} topics.`);
    byId("traffic-warning").hidden = !page.hearsCalls;
    showProblem(byId("traffic-problem"), "");
    const focused = document.activeElement?.dataset?.topic;
    addMessages(page);
    showTopics(page.topics);
    if (focused !== undefined) {
      document.querySelector(`[data-topic="${CSS.escape(focused)}"]`)?.focus();
    }
  } catch (problem) {
    showProblem(byId("traffic-problem"), problem.message);
    if ([400, 403, 429].includes(problem.status)) { // a retry would fail too
      pause("Not watching.");
    }
  }
}

export function startTraffic() {
  byId("traffic-form").addEventListener("submit", (event) => {
    event.preventDefault();
    showProblem(byId("traffic-problem"), "");
    if (watching && byId("patterns").value.trim() === patterns) {
      pause("Paused. Press Watch to subscribe again.");
      byId("traffic-warning").hidden = true;
    } else {
      begin();
      update();
    }
  });
  byId("filter").addEventListener("input", applyFilter);
  byId("topics-rows").addEventListener("click", ({ target }) => {
    if (target.dataset.topic !== undefined) {
      byId("filter").value = target.dataset.topic;
      applyFilter();
    }
  });
  const again = async () => {
    if (watching && !document.hidden) {
      await update();
    }
    setTimeout(again, INTERVAL);
  };
  again();
}
