/** Listening services and modules, their procedures, and forms to call them. */

import { get, post } from "./api.js";
import { byId, count, duration, element, inOrder, number, setText, showProblem, timeOf } from "./dom.js";

const TYPES = ["str", "int", "float", "bool", "bytes"];
const HINTS = { int: "a whole number", float: "a number", bytes: "hexadecimal", str: "text" };

const HISTORY = 20;
const OPEN = 3; // procedures of a server whose forms are open at first

let mayCall = false;
let serial = 0;

function namesOf(type) {
  const names = type.split("|").map((name) => name.trim()).filter((name) => TYPES.includes(name));
  return names.length ? names : TYPES;
}

/** Return the type and text of a default value in its field. */
function fieldOf(value) {
  if (typeof value === "object" && value !== null) {
    return ["bytes", value.hex ?? ""];
  }
  const type = { boolean: "bool", string: "str" }[typeof value] ?? (Number.isInteger(value) ? "int" : "float");
  return [type, String(value)];
}

/** A field for one argument; `read` returns the value to send. */
class Argument {
  constructor(name, type = "", initial = undefined) {
    this.name = name;
    const id = `argument-${(serial += 1)}`;
    const types = namesOf(type);
    const [givenType, text] = initial === undefined || initial === null ? [types[0], ""] : fieldOf(initial);
    this.isOptional = initial !== undefined;
    this.type = element("select", { "aria-label": `type of ${name}` }, ...types.map((name) => element("option", {}, name)));
    this.type.value = types.includes(givenType) ? givenType : types[0];
    this.type.hidden = types.length === 1;
    this.type.addEventListener("change", () => this.fit());
    this.text = element("input", { id, spellcheck: "false", autocapitalize: "off", autocomplete: "off" });
    this.bool = element("select", { id: `${id}-bool`, "aria-label": name }, element("option", {}, "true"), element("option", {}, "false"));
    this.text.value = inOrder(text); // send exactly the visible text
    this.bool.value = text === "false" ? "false" : "true";
    this.element = element("div", { class: "field grow" },
      element("label", { for: id }, name, type ? element("span", {}, `: ${type}`) : null),
      element("div", { class: "argument" }, this.text, this.bool, this.type));
    this.fit();
  }

  fit() {
    const isBool = this.type.value === "bool";
    this.text.hidden = isBool;
    this.bool.hidden = !isBool;
    this.text.placeholder = HINTS[this.type.value] ?? "";
    this.text.inputMode = this.type.value === "int" ? "numeric" : "text";
    this.element.querySelector("label").htmlFor = isBool ? this.bool.id : this.text.id;
  }

  read() {
    const type = this.type.value;
    return { name: this.name, type, value: type === "bool" ? this.bool.value : this.text.value };
  }

  /** Mark the field if an error names it; return true if so. */
  mark(message) {
    const isWrong = message.startsWith(`${this.name} must be `);
    this.text.setAttribute("aria-invalid", String(isWrong));
    return isWrong;
  }
}

/** Make a form that calls one procedure and shows the result. */
function callForm(server, procedure) {
  const known = procedure !== null;
  const fields = element("div", { class: "bar fields" });
  const list = [];
  const add = (argument) => {
    list.push(argument);
    fields.insertBefore(argument.element, fields.querySelector("button"));
  };
  const name = element("input", { id: `procedure-${(serial += 1)}`, required: true, spellcheck: "false", autocapitalize: "off" });
  const rest = known && procedure.arguments.find((argument) => argument.name.startsWith("*"));
  const button = element("button", { class: "primary" }, "Call");
  if (!known) {
    fields.append(element("div", { class: "field grow" }, element("label", { for: name.id }, "Procedure"), name));
  }
  if (!known || rest) {
    fields.append(element("button", {
      type: "button",
      onclick: () => {
        add(new Argument(`${rest ? rest.name.slice(1) : "argument"} ${list.length + 1}`, rest ? rest.type : ""));
        list.at(-1).text.focus();
      },
    }, "Add argument"));
  }
  fields.append(button);
  for (const { name: argument, type, default: initial } of known ? procedure.arguments : []) {
    if (!argument.startsWith("*")) {
      add(new Argument(argument, type, initial));
    }
  }
  const result = element("div", { role: "status", class: "result" });
  return element("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      result.replaceChildren(element("p", { class: "note" }, "Calling…"));
      const request = { server, procedure: known ? procedure.name : name.value, arguments: list.map((argument) => argument.read()) };
      try {
        result.replaceChildren(...shownAnswer(await call(request)));
        list.forEach((argument) => argument.mark(""));
      } catch (problem) {
        result.replaceChildren(element("p", { class: "problem" }, problem.message));
        list.filter((argument) => argument.mark(problem.message))[0]?.text.focus();
      }
      button.disabled = false;
    },
  }, fields, result);
}

/** Call a procedure, and add the call to the history. */
async function call(request) {
  const answer = await post("/api/call", request);
  const given = request.arguments.map(({ type, value }) => (type === "str" ? JSON.stringify(value) : value)).join(", ");
  const outcome = answer.error ?? JSON.stringify(answer.value);
  const again = element("button", {
    type: "button",
    onclick: async ({ currentTarget }) => {
      currentTarget.disabled = true;
      await call(request).catch((problem) => showProblem(byId("calls-problem"), problem.message));
      currentTarget.disabled = false;
    },
  }, "Call again");
  const list = byId("calls-list");
  list.prepend(element("li", {}, element("details", {},
    element("summary", {}, timeOf(Date.now() / 1000),
      element("span", { class: "line" }, element("span", { class: "what mono" }, `${request.procedure}(${given})`),
        element("span", { class: answer.error ? "preview bad" : "preview" }, outcome)),
      element("span", { class: "topic" }, `${request.server}, ${duration(answer.seconds)}`)),
    element("div", { class: "inside" }, ...shownAnswer(answer), again))));
  while (list.childElementCount > HISTORY) {
    list.lastElementChild.remove();
  }
  byId("calls").hidden = false;
  showProblem(byId("calls-problem"), "");
  return answer;
}

function shownAnswer(answer) {
  const took = element("p", { class: "note" }, `after ${duration(answer.seconds)}`);
  if (answer.error) {
    return [element("p", { class: "problem" }, `${answer.error}: ${answer.message}`), took];
  }
  return [element("pre", { tabindex: 0 }, JSON.stringify(answer.value, null, 2)), took];
}

function signature({ name, arguments: list, returns }) {
  const written = list.map(({ name: argument, type, default: initial }) => {
    const value = initial === undefined ? "" : ` = ${typeof initial === "object" && initial ? `0x${initial.hex}` : JSON.stringify(initial)}`;
    return `${argument}: ${type}${value}`;
  });
  return element("span", { class: "signature" }, name, element("span", { class: "type" }, `(${written.join(", ")})${returns ? ` → ${returns}` : ""}`));
}

/** Make a procedure's row, which opens its form; for a server without a description, the form alone. */
function rowOf(server, procedure, isOpen) {
  const named = { class: "procedure", "data-procedure": procedure?.name ?? "" };
  if (procedure === null) {
    return element("div", named, callForm(server, null));
  }
  const doc = procedure.doc ? element("span", { class: "note" }, procedure.doc) : null;
  return mayCall
    ? element("details", { ...named, open: isOpen }, element("summary", {}, signature(procedure), doc), callForm(server, procedure))
    : element("div", named, signature(procedure), doc);
}

function serviceOf({ server, description, problem }) {
  const inside = element("div", { class: "inside" });
  const about = problem ? "invalid description"
    : description === null ? "does not describe itself"
    : `${description.version ? `version ${description.version} · ` : ""}${number(description.procedures.length, "procedure")}`;
  const shown = element("details", { class: "service", "data-server": server },
    element("summary", {}, element("span", { class: "mono" }, server), element("span", { class: "note" }, about)), inside);
  shown.addEventListener("toggle", () => {
    if (!shown.open || inside.childElementCount) {
      return;
    }
    if (problem) {
      inside.append(element("p", { class: "note" }, problem));
    } else if (description === null) {
      inside.append(element("p", { class: "note" }, "An existing OpenTera program, or a server in another library."));
    } else if (description.doc) {
      inside.append(element("p", {}, description.doc));
    }
    const procedures = description === null ? (mayCall ? [null] : []) : description.procedures;
    inside.append(...procedures.map((procedure) => rowOf(server, procedure, procedures.length <= OPEN)));
  });
  return shown;
}

async function refresh() {
  const button = byId("services-refresh");
  button.disabled = true;
  setText(byId("services-state"), "Querying services…");
  try {
    const found = await get("/api/services", {}, 20000);
    byId("services-list").replaceChildren(...found.map(serviceOf));
    byId("services-empty").hidden = found.length > 0;
    const address = byId("address").textContent;
    setText(byId("example-address"), address.startsWith("redis") || address.startsWith("unix") ? address : "redis://127.0.0.1:6379/0");
    setText(byId("services-state"), `${count(found.length)} found`);
    showProblem(byId("services-problem"), "");
  } catch (problem) {
    setText(byId("services-state"), "");
    showProblem(byId("services-problem"), problem.message);
  }
  button.disabled = false;
}

/** @param {boolean} write - true if the page may call procedures */
export function startServices(write) {
  mayCall = write;
  document.querySelector("#services .read-only").hidden = write;
  byId("services-refresh").addEventListener("click", refresh);
  refresh();
}
