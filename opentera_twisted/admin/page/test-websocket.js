/** A session key, and a websocket that logs in with one like a client. */

import { OpenteraBus } from "./opentera-bus.js";
import { post } from "./api.js";
import { byId, element, setText, showProblem, timeOf } from "./dom.js";
import { offer } from "./views.js";

const KEPT = 50;

let bus = null;

function identity() {
  return { kind: byId("kind").value, uuid: byId("uuid").value, name: byId("name").value };
}

function show(what, body) {
  const list = byId("test-websocket-events");
  const line = [timeOf(Date.now() / 1000), element("span", { class: "what" }, what)];
  list.prepend(element("li", {}, element("details", {}, element("summary", {}, ...line),
    element("pre", { tabindex: 0 }, JSON.stringify(body, null, 2)))));
  while (list.childElementCount > KEPT) {
    list.lastElementChild.remove();
  }
}

function close() {
  bus?.close();
  bus = null;
  setText(byId("connect"), "Connect");
}

function connect() {
  const login = identity();
  const url = new URL(byId("url").value);
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/${login.kind}`;
  byId("test-websocket-events").replaceChildren();
  bus = new OpenteraBus({ url, key: async () => (await post("/api/keys", login)).key });
  const mine = bus;
  bus.addEventListener("event", ({ detail }) => show(detail.name, detail.data));
  bus.addEventListener("error", ({ detail }) => showProblem(byId("test-websocket-problem"), detail.cause?.message ?? detail.message));
  bus.addEventListener("statechange", ({ detail: { state, code, delay } }) => {
    if (mine !== bus && bus !== null) {
      return;
    }
    const texts = {
      connecting: "Connecting…",
      open: `Connected as ${login.kind} ${login.uuid}.`,
      waiting: `Not connected${code ? ` (${code})` : ""}; reconnecting in ${((delay ?? 0) / 1000).toFixed(1)} s.`,
      closed: `Closed${code ? ` (${code})` : ""}.`,
    };
    setText(byId("test-websocket-state"), texts[state]);
    if (state === "open") {
      showProblem(byId("test-websocket-problem"), "");
    } else if (state === "closed") {
      close();
    }
  });
  setText(byId("connect"), "Close");
}

async function issue() {
  showProblem(byId("test-websocket-problem"), "");
  if (!byId("uuid").reportValidity()) {
    return;
  }
  try {
    const { key, seconds } = await post("/api/keys", identity());
    byId("key").value = key;
    setText(byId("key-seconds"), String(seconds));
    byId("key-line").hidden = false;
    // Remove the key when it expires.
    setTimeout(() => byId("key").value === key && forget(), seconds * 1000);
  } catch (problem) {
    showProblem(byId("test-websocket-problem"), problem.message);
  }
}

function forget() {
  byId("key").value = "";
  byId("key-line").hidden = true;
}

/** @param {{scheme: string, port: number}[]} websockets - addresses of the gateway */
export function startTestWebSocket(websockets) {
  offer("try");
  const [{ scheme, port } = { scheme: location.protocol === "https:" ? "wss" : "ws", port: location.port }] = websockets;
  byId("url").value = `${scheme}://${location.hostname}:${port}/wss`;
  byId("uuid").value = randomUuid();
  byId("issue").addEventListener("click", issue);
  byId("copy").addEventListener("click", async () => {
    byId("key").select();
    await navigator.clipboard?.writeText(byId("key").value).catch(() => {});
  });
  byId("test-websocket-form").addEventListener("submit", (event) => {
    event.preventDefault();
    showProblem(byId("test-websocket-problem"), "");
    if (bus !== null) {
      close();
      return;
    }
    try {
      connect();
    } catch (error) {
      bus = null;
      showProblem(byId("test-websocket-problem"), error.message);
    }
  });
}

/** Make a UUID: browsers offer `crypto.randomUUID` only over TLS or on localhost. */
function randomUuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
}
