// Small tables, bars and lists of figures that the panel and the lists share.
import { h } from "./dom.js";
import { percent } from "./texts.js";

/** Return a table. @param {string} caption @param {{label: string, number?: boolean}[]} heads @param {any[][]} rows */
export function table(caption, heads, rows) {
  const look = (i) => (heads[i].number ? { class: "number" } : {});
  return h("table", { class: "evidence" },
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, heads.map((head, i) => h("th", { scope: "col", ...look(i) }, head.label)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) => (i === 0 ? h("th", { scope: "row" }, cell) : h("td", look(i), cell)))))));
}

/** Return a share as a bar, for the eye, with its percents beside it. */
export function bar(share) {
  const fill = h("span", { class: "fill" });
  fill.style.inlineSize = `${Math.min(Math.max(share || 0, 0), 1) * 100}%`;
  return h("span", { class: "bar" }, h("span", { class: "track", "aria-hidden": "true" }, fill), h("span", { class: "number" }, percent(share)));
}

/** Return a list of terms and figures; those that are null are left out. */
export function figures(rows) {
  return h("dl", { class: "figures" }, rows.filter(([, value]) => value !== null).flatMap(([label, value]) => [h("dt", {}, label), h("dd", {}, value)]));
}

/** Return a part that is folded away; `key` keeps it open when it is drawn anew. */
export function folded(key, title, ...children) {
  return h("details", { data: { key } }, h("summary", {}, title), children);
}
