/** Who is online: how many of each kind, and their UUIDs as far as they are few. */

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
        const one = shown[kind];
        setText(one.number, count(total));
        const more = total - uuids.length;
        const lines = more ? [...uuids, `and ${count(more)} more`] : uuids;
        if (lines.join() !== one.uuids) {
          one.uuids = lines.join();
          one.list.replaceChildren(...lines.map((line) => element("li", {}, line)));
        }
        one.list.hidden = !lines.length;
      }
      showProblem(byId("presence-problem"), "");
    } catch (problem) {
      showProblem(byId("presence-problem"), problem.message);
    }
  });
}
