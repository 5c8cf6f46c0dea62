/** The views of the page: the address's fragment selects one. */

import { byId } from "./dom.js";

const views = [...document.querySelectorAll(".view")];

function show() {
  const wanted = byId(location.hash.slice(1))?.closest(".view");
  const shown = wanted && wanted.dataset.off === undefined ? wanted : views[0];
  for (const view of views) {
    view.hidden = view !== shown;
  }
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === shown.id) {
      link.setAttribute("aria-current", "page");
    } else {
      link.removeAttribute("aria-current");
    }
  }
  document.dispatchEvent(new Event("view"));
}

export function startViews() {
  window.addEventListener("hashchange", show);
  show();
}

/** Offer a view that depends on the page's permissions. */
export function offer(id) {
  delete byId(id).dataset.off;
  document.querySelector(`[data-view="${id}"]`).hidden = false;
  show();
}
