// The words beside a mark of the plan that is pointed at or has the focus.
import { byId, h } from "./dom.js";

let hinted = null;

/** Show the words of a mark of the plan, or, without words, no longer show those of that mark. */
export function hint(element, words) {
  if (words === null && hinted !== element) return;
  const box = byId("tooltip");
  box.hidden = words === null;
  hinted = words === null ? null : element;
  if (words === null) return;
  box.replaceChildren(...words().map((line, i) => h(i ? "span" : "b", {}, line)));
  const at = element.querySelector(".target").getBoundingClientRect();
  const left = Math.min(Math.max(8, at.left + at.width / 2 - box.offsetWidth / 2), innerWidth - box.offsetWidth - 8);
  const top = at.top - box.offsetHeight - 6;
  box.style.left = `${left + scrollX}px`;
  box.style.top = `${(top < 4 ? at.bottom + 6 : top) + scrollY}px`;
}
