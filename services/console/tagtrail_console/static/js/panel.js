// The side panel of one tag: where it is and how sure that is, what lies on it, why we say so, and
// where it was.
import { ageElement, moment, timeOf } from "./ages.js";
import { get } from "./api.js";
import { byId, h } from "./dom.js";
import { drawExplanation } from "./explain.js";
import { drawPresence, stateBadge } from "./presence.js";
import { kindOf, reasonWords } from "./reasons.js";
import { basis } from "./stock.js";
import { known, maybe, number, percent, t } from "./texts.js";

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
      presence: h("div"), contents: h("div"), explain: h("div"), history: h("div"),
    };
    const section = (key) => h("section", {}, h("h3", {}, t(`panel.${key}`)), this.parts[key]);
    this.element.replaceChildren(
      h("div", { class: "cardhead" }, this.parts.name,
        h("button", { type: "button", class: "close", "aria-label": t("panel.close"), title: t("panel.close"), onclick: () => this.close() }, "✕")),
      this.parts.facts, section("presence"), section("contents"), section("explain"), section("history"));
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
    const asset = this.model.assets.get(tag.assetId);
    this.#facts([
      ["zone", h("b", {}, tag.zoneId ? this.model.zoneName(tag.zoneId) : t("zone.none"))],
      ["since", tag.since === null ? null : ageElement(tag.since, zone)],
      ["heard", h("span", {}, stateBadge(this.model.stateOf(tag), this.model.gradeOf(tag)), " ", ageElement(tag.heardAt, zone))],
      ["method", maybe(`method.${tag.method}`, tag.method)],
      ["confidence", tag.confidence === null ? t("panel.unstated") : percent(tag.confidence)],
      ["point", pointWords(tag)],
      ["asset", asset ? `${asset.kind} · ${asset.id}` : t("panel.unbound")],
      ["tag", tag.label && tag.label !== tag.id ? `${tag.label} · ${tag.id}` : tag.id],
    ]);
  }

  /** Fetch the explanation anew, and what it says of the tag's silence. */
  async explain() {
    const id = this.id;
    if (id === null) return;
    const ask = () => get(`/v1/tags/${encodeURIComponent(id)}/explain`);
    const answer = ask().then((body) => {
      this.model.learnPresence(id, body.presence);
      if (this.id === id) this.draw();
      return body;
    });
    await Promise.all([
      this.#part(id, "presence", () => answer, (body) => drawPresence(body.presence ?? null, this.model)),
      this.#part(id, "explain", () => answer, (body) => drawExplanation(body, this.model)),
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
      this.explain(),
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
    if (this.id === id) renew(this.parts[name], [content].flat());
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
    return [h("ol", { class: "trail" }, body.items.map((item) => this.#passage(item)))];
  }

  #passage(item) {
    const timeZone = this.model.site?.timeZone;
    const at = timeOf(item.at);
    const zone = item.zone_id ? this.model.zoneName(item.zone_id) : t("zone.none");
    const why = item.reason && kindOf(item.reason) !== "stays" ? reasonWords(item.reason, { sentence: "", zone }) : "";
    const how = [maybe(`method.${item.method}`, item.method), known(item.confidence) ? percent(item.confidence) : null];
    return h("li", {}, h("b", {}, zone), " ",
      h("span", { class: "quiet" }, at === null ? "" : `${moment(at, timeZone)} · `, ageElement(at, timeZone), ...how.filter(Boolean).map((words) => ` · ${words}`)),
      why ? h("span", { class: "quiet" }, why) : null);
  }
}

function pointWords(tag) {
  if (tag.x === null || tag.y === null) return null;
  const key = tag.radius95 === null ? "panel.metres" : "panel.metres_95";
  return t(key, { x: number(tag.x, 1), y: number(tag.y, 1), r: number(tag.radius95 ?? tag.accuracy, 1) });
}

/** Replace what an element holds; what was folded open stays open, and keeps the focus. */
function renew(host, content) {
  const open = new Set([...host.querySelectorAll("details[open]")].map((part) => part.dataset.key));
  const focused = host.contains(document.activeElement) ? document.activeElement.closest("details")?.dataset.key : null;
  host.replaceChildren(...content);
  for (const part of host.querySelectorAll("details")) {
    part.open = open.has(part.dataset.key);
    if (part.dataset.key === focused) part.querySelector("summary").focus();
  }
}
