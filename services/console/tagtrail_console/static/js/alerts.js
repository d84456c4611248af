// Open alerts: the worst first, each with its age, its reason and what to do next.
import { ageElement, ageOf, inWords } from "./ages.js";
import { post } from "./api.js";
import { announce, byId, h } from "./dom.js";
import { presenceLine } from "./presence.js";
import { t } from "./texts.js";

const RANK = { critical: 0, warning: 1, info: 2 };

export class AlertList {
  constructor(model, { onTag, onChange, linked = null }) {
    this.model = model;
    this.linked = linked;
    this.shown = linked === null;
    this.onTag = onTag;
    this.onChange = onChange;
    this.may = document.body.dataset.mayAcknowledge === "yes";
    this.items = new Map();
    this.busy = new Map();
  }

  draw() {
    if (!this.model.known.alerts) return;
    const alerts = this.model.alerts
      .filter((alert) => alert.id === this.linked || alert.siteId === null || alert.siteId === this.model.site?.id)
      .sort((a, b) => (RANK[a.severity] ?? 1) - (RANK[b.severity] ?? 1) || b.firedAt - a.firedAt);
    const fresh = alerts.filter((alert) => alert.state === "open").length;
    byId("alerts-count").textContent = alerts.length ? t("alerts.count", { open: fresh, all: alerts.length }) : "";
    byId("alerts-empty").hidden = alerts.length > 0;
    byId("alerts-empty").textContent = t("alerts.empty");
    const keep = new Set(alerts.map((alert) => alert.id));
    for (const [id, item] of this.items) {
      if (keep.has(id)) continue;
      item.element.remove();
      this.items.delete(id);
    }
    const list = byId("alerts");
    alerts.forEach((alert, index) => {
      const key = JSON.stringify([alert, this.busy.get(alert.id), this.#tag(alert)]);
      let item = this.items.get(alert.id);
      if (item?.key !== key) {
        const next = { element: this.#item(alert), key };
        const had = item?.element.contains(document.activeElement);
        item?.element.replaceWith(next.element);
        if (had) next.element.querySelector("button, a, [tabindex]")?.focus();
        item = next;
        this.items.set(alert.id, item);
      }
      if (list.children[index] !== item.element) list.insertBefore(item.element, list.children[index] ?? null);
    });
    this.#showLinked();
  }

  /** Bring the alert that a chat card linked to into view, and keep it there until somebody acts. */
  #showLinked() {
    const element = this.items.get(this.linked)?.element;
    if (this.shown || !element) return;
    this.shown = true;
    const look = () => this.items.get(this.linked)?.element.scrollIntoView({ block: "center" });
    const settling = new ResizeObserver(look);
    settling.observe(document.body);
    settling.observe(byId("alerts"));
    for (const act of ["pointerdown", "wheel", "keydown"]) {
      window.addEventListener(act, () => settling.disconnect(), { once: true, passive: true });
    }
    element.focus();
    look();
  }

  /** Return what an alert shows of its tag, as the tag is now; null without one. */
  #tag(alert) {
    const id = this.model.tagOf(alert);
    const tag = this.model.tags.get(id);
    return { id, heard: tag?.heardAt ?? null, grade: tag ? this.model.gradeOf(tag) : null, silence: tag?.silence ?? null };
  }

  #item(alert) {
    const busy = this.busy.get(alert.id);
    const tagId = this.model.tagOf(alert);
    const tag = this.model.tags.get(tagId);
    const title = tagId
      ? h("button", { type: "button", class: "link", onclick: (event) => this.onTag(tagId, event.target) }, alert.title)
      : h("span", {}, alert.title);
    return h("li", { class: "alert", tabindex: -1, 
        data: { severity: alert.severity, state: alert.state, alert: alert.id, linked: alert.id === this.linked ? "yes" : "no" } },
      h("p", { class: "headline" },
        h("span", { class: "severity" }, t(`severity.${alert.severity}`)), " ", title),
      h("p", { class: "quiet" },
        t(`alert.${alert.state}`), " · ",
        ageElement(alert.firedAt, this.model.site?.timeZone, (time) => t("alert.for", { age: inWords(ageOf(time) ?? 0) }))),
      alert.where ? h("p", {}, h("b", {}, t("alert.where")), " ", alert.where) : null,
      alert.why ? h("p", {}, alert.why) : null,
      alert.cause ? h("p", {}, h("b", {}, t("alert.cause")), " ", alert.cause) : null,
      tag && tag.heardAt !== null ? h("p", { class: "now" }, h("b", {}, t("alert.now")), " ", presenceLine(this.model, tag)) : null,
      alert.next ? h("p", {}, h("b", {}, t("alert.next")), " ", alert.next) : null,
      busy?.error ? h("p", { class: "fault", role: "alert" }, busy.error) : null,
      alert.state === "open" && this.may
        ? h("button", { type: "button", class: "act", "aria-disabled": busy?.sending ? "true" : null,
            "aria-label": t("alert.acknowledge_this", { title: alert.title }),
            onclick: () => this.#acknowledge(alert) },
            busy?.sending ? t("alert.acknowledging") : t("alert.acknowledge"))
        : null);
  }

  async #acknowledge(alert) {
    if (this.busy.get(alert.id)?.sending) return;
    this.busy.set(alert.id, { sending: true });
    this.draw();
    try {
      await post(`/v1/alerts/${encodeURIComponent(alert.id)}/acknowledge`, {});
      this.busy.delete(alert.id);
      this.model.acknowledged.add(alert.id);
      alert.state = "acknowledged";
      announce(t("alert.acknowledged_now", { title: alert.title }));
    } catch (problem) {
      this.busy.set(alert.id, { error: t("alert.failed", { reason: problem.message }) });
    }
    this.draw();
    this.items.get(alert.id)?.element.focus();
    this.onChange();
  }
}
