/** Topics and their messages; polling keeps them subscribed. */

import { get } from "./api.js";
import { ago, amount, byId, bytes, count, element, number, setText, showProblem, timeOf } from "./dom.js";
import { byNumber, byText, replaceRows, sorting } from "./table.js";

const INTERVAL = 1000;
const TYPING = 300; // milliseconds without a key before a filter counts
const KEPT = 200;
const LISTED = 100;
const SMOOTH = 0.4; // weight of the latest second in a topic's rate

const COLUMNS = [
  { title: "Topic", order: byText(({ topic }) => topic) },
  { title: "Messages", order: byNumber((topic) => topic.count), number: true },
  { title: "Per s", order: byNumber(({ rate }) => rate), number: true },
  { title: "Bytes", order: byNumber((topic) => topic.bytes), number: true },
  { title: "Latest", order: byNumber(({ last }) => last), number: true },
];

let watching = false;
let patterns = "";
let filter = "";
let serial = 0;
let after = 0;
let gaps = 0;
let requests = 0; // only the reply to the latest one counts
let rows = [];
let held = []; // while a message is open
let sorted;
let topics = [];
let counted = new Map();
let time = 0;

/** Make a message's row: one line, and the whole body when opened. */
function rowOf(message) {
  const details = element("details", {},
    element("summary", {}, timeOf(message.time),
      element("span", { class: "line" }, element("span", { class: "what" }, message.summary || message.form),
        message.preview ? element("span", { class: "preview" }, message.preview) : null),
      element("span", { class: "topic" }, message.topic)));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) {
      const body = typeof message.body === "string" ? message.body : JSON.stringify(message.body, null, 2);
      details.append(element("p", { class: "hidden" }, `${message.form}, ${message.bytes} bytes`), element("pre", { tabindex: 0 }, body ?? ""));
    }
    release();
  });
  return element("li", {}, details);
}

function note(text) {
  return element("li", { class: "gap" }, text);
}

/** Show the messages that were held while one was open. */
function release() {
  const isOpen = byId("messages").querySelector("details[open]") !== null;
  if (!isOpen && held.length) {
    const added = held;
    held = [];
    byId("messages").prepend(...added);
    rows = [...added, ...rows];
    for (const row of rows.splice(KEPT)) {
      row.remove();
    }
  }
  const waiting = byId("messages-held");
  waiting.hidden = !held.length;
  setText(waiting, `The list waits while a message is open: ${number(held.length, "new row")}.`);
  byId("messages-empty").hidden = rows.length > 0;
  setText(byId("messages-empty"), filter ? "No messages match the filter." : "No messages yet.");
}

function addMessages(page) {
  const added = page.messages.map(rowOf).reverse();
  if (page.skipped) {
    added.push(note(`${number(page.skipped, "message")} skipped: too many to show`));
  }
  if (page.gaps > gaps) {
    added.unshift(note("gap in the link to Redis: messages may have been missed"));
  }
  gaps = page.gaps;
  held = [...added, ...held].slice(0, KEPT);
  release();
}

function clearMessages() {
  serial = 0;
  after = 0;
  rows = [];
  held = [];
  byId("messages").replaceChildren();
  release();
}

/** Compute each topic's rate; a topic that the gateway dropped meanwhile starts again. */
function updateTopics(page) {
  const passed = page.time - time;
  topics = page.topics.map((topic) => {
    const { count: before = topic.count, rate = 0 } = counted.get(topic.topic) ?? (time ? { count: 0 } : {});
    const latest = passed > 0 ? Math.max(topic.count - before, 0) / passed : 0;
    const smoothed = rate + SMOOTH * (latest - rate);
    return { ...topic, rate: smoothed < 0.05 && latest === 0 ? 0 : smoothed };
  });
  counted = new Map(topics.map((topic) => [topic.topic, topic]));
  time = page.time;
  showTopics();
}

function showTopics() {
  replaceRows(byId("topics-rows"), sorted(topics).slice(0, LISTED).map(({ topic, count: messages, rate, bytes: size, last }) => {
    const since = ago(new Date(last * 1000).toISOString());
    return element("tr", {},
      element("td", { class: "topic", "data-label": "Topic" }, element("button", {
        class: "plain", type: "button", title: "Watch this topic alone", "data-action": topic, "data-topic": topic,
      }, topic)),
      ...[count(messages), amount(rate), bytes(size).join(" "), since === "now" ? since : `${since} ago`].map((text, index) =>
        element("td", { class: "number", "data-label": COLUMNS[index + 1].title }, text)));
  }));
  const more = topics.length - LISTED;
  byId("topics-empty").hidden = topics.length > 0 && more <= 0;
  setText(byId("topics-empty"), more > 0 ? `${count(more)} more topics.` : "No topics yet.");
}

function begin() {
  watching = true;
  const requested = byId("patterns").value.trim();
  if (requested !== patterns) {
    patterns = requested;
    counted = new Map();
    time = 0;
    topics = [];
    clearMessages();
    showTopics();
  }
  byId("default-patterns").hidden = patterns === byId("patterns").defaultValue;
  setText(byId("watch"), "Pause");
  setText(byId("traffic-state"), "Subscribing…");
}

function pause(text) {
  watching = false;
  setText(byId("watch"), "Watch");
  setText(byId("traffic-state"), text);
}

/** Watch other patterns. */
function watch(text) {
  byId("patterns").value = text;
  showProblem(byId("traffic-problem"), "");
  begin();
  update();
}

/** Return the pattern that matches one topic alone; blanks separate patterns. */
const patternOf = (topic) => topic.replace(/[*?[\]\\]/g, "\\$&").replace(/\s/g, "?").replace(/…$/, "*");

async function update() {
  const request = (requests += 1);
  try {
    const page = await get("/api/traffic", { patterns, filter, serial, after });
    if (!watching || request !== requests) {
      return;
    }
    if (page.serial !== serial) { // another filter, or the watch had expired
      gaps = page.gaps;
    }
    ({ serial, matching: after } = page);
    const matching = filter ? `${count(page.matching)} of ` : "";
    setText(byId("traffic-state"), `Watching: ${matching}${number(page.count, "message")} on ${number(page.topics.length, "topic")}.`);
    byId("traffic-warning").hidden = !page.hearsCalls;
    showProblem(byId("traffic-problem"), "");
    addMessages(page);
    updateTopics(page);
  } catch (problem) {
    if (request !== requests) {
      return;
    }
    showProblem(byId("traffic-problem"), problem.message);
    if ([400, 403, 429].includes(problem.status)) { // a retry would fail too
      pause("Not watching.");
    }
  }
}

export function startTraffic() {
  sorted = sorting(byId("topics-head"), COLUMNS, COLUMNS[0], showTopics);
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
  let typing = 0;
  byId("filter").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      filter = byId("filter").value.trim();
      clearMessages();
      if (watching) {
        update();
      }
    }, TYPING);
  });
  byId("default-patterns").addEventListener("click", () => watch(byId("patterns").defaultValue));
  byId("topics-rows").addEventListener("click", ({ target }) => {
    if (target.dataset.topic !== undefined) {
      watch(patternOf(target.dataset.topic));
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
