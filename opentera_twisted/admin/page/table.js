/** Heads of tables that sort. */

import { element, setText } from "./dom.js";

/** Order rows by a text, or by a number with the greatest first. */
export const byText = (get) => (left, right) => String(get(left)).localeCompare(String(get(right)), "en");
export const byNumber = (get) => (left, right) => get(right) - get(left);

/**
 * Fill a table's head with buttons that sort.
 *
 * @param {any} head - the row of the head
 * @param {{title: string, order?: (left: any, right: any) => number, number?: boolean}[]} columns
 * @param {any} first - the column that sorts at first
 * @param {() => void} changed - called when the order changes
 * @returns {(rows: any[]) => any[]} a function that sorts rows
 */
export function sorting(head, columns, first, changed) {
  let sorted = first;
  let isReversed = false;
  const cells = columns.map((column) => {
    const mark = element("span", { "aria-hidden": "true" });
    const content = column.order === undefined ? element("span", { class: "hidden" }, column.title)
      : element("button", { class: "plain", type: "button", onclick: () => sortBy(column) }, column.title, mark);
    return { column, mark, cell: element("th", { scope: "col", class: column.number ? "number" : null }, content) };
  });

  function sortBy(column) {
    isReversed = column === sorted && !isReversed;
    sorted = column;
    show();
    changed();
  }

  function show() {
    for (const { column, mark, cell } of cells) {
      if (column.order === undefined) {
        continue;
      }
      const direction = column !== sorted ? "none" : isReversed !== Boolean(column.number) ? "descending" : "ascending";
      cell.setAttribute("aria-sort", direction);
      setText(mark, column !== sorted ? "" : direction === "descending" ? " ↓" : " ↑");
    }
  }

  head.replaceChildren(...cells.map(({ cell }) => cell));
  show();
  return (rows) => {
    const ordered = [...rows].sort(sorted.order);
    return isReversed ? ordered.reverse() : ordered;
  };
}

/** Replace rows, and keep the keyboard's focus on the element with the same `data-action`. */
export function replaceRows(body, rows) {
  const focused = body.contains(document.activeElement) ? document.activeElement.dataset.action : undefined;
  body.replaceChildren(...rows);
  if (focused !== undefined) {
    body.querySelector(`[data-action="${CSS.escape(focused)}"]`)?.focus();
  }
}
