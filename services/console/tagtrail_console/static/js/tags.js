// The list of tags: the floor plan for people who search, use a keyboard, or do not see it.
import { ageElement } from "./ages.js";
import { byId, h } from "./dom.js";
import { stateBadge } from "./presence.js";
import { causeWords } from "./reasons.js";
import { maybe, percent, t, tn } from "./texts.js";

const FIRST = 25;

export class TagList {
  constructor(model, onTag) {
    this.model = model;
    this.onTag = onTag;
    this.shown = FIRST;
    this.rows = new Map();
    this.body = byId("tags").querySelector("tbody");
    byId("tags-more").addEventListener("click", () => {
      this.shown += 100;
      this.draw();
    });
  }

  filter(fits) {
    this.fits = fits;
    this.shown = FIRST;
    this.draw();
  }

  /** Draw the rows; a row that is there already is changed in place, so the focus stays. */
  draw() {
    if (!this.model.known.places) return;
    const here = this.model.tagsHere();
    const found = this.fits ? here.filter(this.fits) : here;
    const shown = found.slice(0, this.shown);
    byId("tags").hidden = !shown.length;
    byId("tags-empty").hidden = shown.length > 0;
    byId("tags-empty").textContent = here.length ? t("search.nothing") : t("tags.empty");
    byId("tags-count").textContent = found.length === here.length
      ? tn("tags.count", here.length) : t("tags.some", { some: found.length, all: here.length });
    const more = found.length - shown.length;
    byId("tags-more").hidden = more === 0;
    byId("tags-more").textContent = tn("tags.more", more);
    this.#sync(shown);
    return found.length;
  }

  #sync(tags) {
    const keep = new Set(tags.map((tag) => tag.id));
    for (const [id, row] of this.rows) {
      if (keep.has(id)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
    tags.forEach((tag, index) => {
      const row = this.rows.get(tag.id) ?? this.#row(tag.id);
      this.#fill(row, tag);
      if (this.body.children[index] !== row.element) this.body.insertBefore(row.element, this.body.children[index] ?? null);
    });
  }

  #row(id) {
    const button = h("button", { type: "button", class: "link", onclick: () => this.onTag(id, button) });
    const kind = h("span", { class: "quiet" });
    const cells = { zone: h("td"), heard: h("td"), how: h("td", { class: "wide" }) };
    const element = h("tr", { data: { tag: id } }, h("th", { scope: "row" }, button, kind), Object.values(cells));
    const row = { element, button, kind, cells, key: "" };
    this.rows.set(id, row);
    return row;
  }

  #fill(row, tag) {
    const state = this.model.stateOf(tag);
    const name = this.model.nameOf(tag);
    const zone = tag.zoneId ? this.model.zoneName(tag.zoneId) : t("zone.none");
    const grade = this.model.gradeOf(tag);
    const cause = causeWords(tag.silence?.cause) ?? "";
    const key = [name, zone, state, grade, cause, tag.heardAt, tag.method, tag.confidence].join("|");
    if (row.key === key) return;
    row.key = key;
    row.button.textContent = name;
    row.kind.textContent = this.model.assets.has(tag.assetId) ? "" : ` ${t("tags.unbound")}`;
    row.cells.zone.textContent = zone;
    row.cells.heard.replaceChildren(
      stateBadge(state, grade), " ", ageElement(tag.heardAt, this.model.site?.timeZone),
      ...(cause ? [h("span", { class: "quiet cause" }, cause)] : []));
    const sure = tag.confidence === null ? "" : ` · ${percent(tag.confidence)}`;
    row.cells.how.textContent = maybe(`method.${tag.method}`, tag.method) + sure;
  }
}
