/** Online identities: the number of each kind, and the first UUIDs. */

import { get, repeat } from "./api.js";
import { byId, count, element, setText, showProblem } from "./dom.js";

const KINDS = { user: "Users", participant: "Participants", device: "Devices" };
const INTERVAL = 3000;

export function startPresence() {
  const shown = {};
  for (const [kind, title] of Object.entries(KINDS)) {
    const number = element("p", { class: "count" }, "–");
    const list = element("ul", { class: "mono", tabindex: 0, role: "list", "aria-label": `UUIDs: ${title}` });
    shown[kind] = { number, list, uuids: "" };
    byId("presence-kinds").append(
      element("div", { "data-kind": kind }, element("p", { class: "label" }, title), number, list));
  }
  repeat(INTERVAL, async () => {
    try {
      const online = await get("/api/presence");
      for (const [kind, { total, uuids }] of Object.entries(online)) {
        const panel = shown[kind];
        setText(panel.number, count(total));
        const more = total - uuids.length;
        const lines = more ? [...uuids, `and ${count(more)} more`] : uuids;
        if (lines.join() !== panel.uuids) {
          panel.uuids = lines.join();
          panel.list.replaceChildren(...lines.map((line) => element("li", {}, line)));
        }
        panel.list.hidden = !lines.length;
      }
      showProblem(byId("presence-problem"), "");
    } catch (problem) {
      showProblem(byId("presence-problem"), problem.message);
    }
  }, byId("presence"));
}
