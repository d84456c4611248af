// The side panel of one tag: where it is and how sure that is, what lies on it, why we say so, and
// where it was.
import { ageElement, moment } from "./ages.js";
import { get } from "./api.js";
import { byId, h } from "./dom.js";
import { drawExplanation } from "./explain.js";
import { basis } from "./stock.js";
import { number, percent, t } from "./texts.js";

export class Panel {
  constructor(model, onClose) {
    this.model = model;
    this.onClose = onClose;
    this.element = byId("panel");
    this.id = null;
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }

  open(id, opener = document.activeElement) {
    if (this.id === null) this.opener = opener;
    this.id = id;
    this.parts = {
      name: h("h2", { id: "panel-title" }), facts: h("dl", { class: "facts" }),
      contents: h("div"), explain: h("div"), history: h("div"),
    };
    const section = (key) => h("section", {}, h("h3", {}, t(`panel.${key}`)), this.parts[key]);
    this.element.replaceChildren(
      h("div", { class: "cardhead" }, this.parts.name,
        h("button", { type: "button", class: "close", "aria-label": t("panel.close"), title: t("panel.close"), onclick: () => this.close() }, "✕")),
      this.parts.facts, section("contents"), section("explain"), section("history"));
    this.element.hidden = false;
    this.element.scrollTop = 0;
    this.draw();
    this.refresh();
    this.element.focus();
  }

  close() {
    if (this.id === null) return;
    this.id = null;
    this.element.hidden = true;
    this.onClose();
    if (this.opener?.isConnected) this.opener.focus();
  }

  /** Draw what the page knows already. */
  draw() {
    const tag = this.model.tags.get(this.id);
    if (this.id === null) return;
    this.parts.name.textContent = tag ? this.model.nameOf(tag) : this.id;
    if (!tag || tag.heardAt === null) return this.parts.facts.replaceChildren(h("dd", { class: "empty" }, t("panel.never")));
    const zone = this.model.site?.timeZone;
    const state = this.model.stateOf(tag);
    const asset = this.model.assets.get(tag.assetId);
    this.#facts([
      ["zone", h("b", {}, tag.zoneId ? this.model.zoneName(tag.zoneId) : t("zone.none"))],
      ["since", tag.since === null ? null : ageElement(tag.since, zone)],
      ["heard", h("span", {}, h("span", { class: "state", data: { state } }, t(`state.${state}`)), " ", ageElement(tag.heardAt, zone))],
      ["method", t(`method.${tag.method}`)],
      ["confidence", tag.confidence === null ? t("panel.unstated") : percent(tag.confidence)],
      ["point", tag.x === null ? null : t("panel.metres", { x: number(tag.x, 1), y: number(tag.y, 1), r: tag.accuracy === null ? "?" : number(tag.accuracy, 1) })],
      ["asset", asset ? `${asset.kind} · ${asset.id}` : t("panel.unbound")],
      ["tag", tag.label && tag.label !== tag.id ? `${tag.label} · ${tag.id}` : tag.id],
    ]);
  }

  /** Fetch contents, explanation and history anew. */
  async refresh() {
    const id = this.id;
    if (id === null) return;
    const asset = this.model.tags.get(id)?.assetId;
    const path = encodeURIComponent(id);
    await Promise.all([
      this.#part(id, "contents", asset ? () => get(`/v1/assets/${encodeURIComponent(asset)}`) : null, (body) => this.#contents(body)),
      this.#part(id, "explain", () => get(`/v1/tags/${path}/explain`), (body) => drawExplanation(body, this.model)),
      this.#part(id, "history", () => get(`/v1/tags/${path}/history`, { limit: 20 }), (body) => this.#history(body)),
    ]);
  }

  async #part(id, name, ask, draw) {
    let content;
    if (ask === null) content = [h("p", { class: "empty" }, t(`panel.${name}.none`))];
    else {
      try {
        content = draw(await ask());
      } catch (problem) {
        const words = problem.status === 404 ? t(`panel.${name}.none`) : t("panel.failed", { reason: problem.message });
        content = [h("p", { class: "empty" }, words)];
      }
    }
    if (this.id === id) this.parts[name].replaceChildren(...[content].flat());
  }

  #facts(rows) {
    this.parts.facts.replaceChildren(...rows
      .filter(([, value]) => value !== null)
      .flatMap(([key, value]) => [h("dt", {}, t(`panel.fact.${key}`)), h("dd", {}, value)]));
  }

  #contents(body) {
    const lines = body.contents ?? [];
    if (!lines.length) return [h("p", { class: "empty" }, t("panel.contents.none"))];
    return [h("ul", { class: "rows" }, lines.map((line) => h("li", {},
      h("span", { class: "code" }, line.sku), " ",
      h("span", { class: "quiet" }, line.name ?? ""),
      h("b", { class: "number" }, number(line.quantity)),
      basis(line))))];
  }

  #history(body) {
    if (!body.items.length) return [h("p", { class: "empty" }, t("panel.history.none"))];
    const zone = this.model.site?.timeZone;
    return [h("ol", { class: "trail" }, body.items.map((item) => {
      const at = Date.parse(item.at);
      return h("li", {}, h("b", {}, item.zone_id ? this.model.zoneName(item.zone_id) : t("zone.none")), " ",
        h("span", { class: "quiet" }, moment(at, zone), " · ", ageElement(at, zone)));
    }))];
  }
}
