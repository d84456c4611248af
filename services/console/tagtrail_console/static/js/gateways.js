// The gateways of the site, the troubled ones first: a silent or deaf gateway explains silent tags.
import { ageElement, inWords } from "./ages.js";
import { byId, h } from "./dom.js";
import { compare, known, maybe, number, t } from "./texts.js";

const ORDER = ["deaf", "silent", "offline", "never_heard", "clock_ahead", "unregistered", "unknown", "healthy"];
const WELL = new Set(["healthy", "unknown"]);

export class GatewayList {
  constructor(model) {
    this.model = model;
    this.body = byId("gateways").querySelector("tbody");
  }

  draw() {
    if (!this.model.known.health) return;
    const rank = (gateway) => (ORDER.indexOf(gateway.health) + ORDER.length) % ORDER.length;
    const all = [...this.model.gateways.values(), ...this.model.strangers].sort((a, b) => rank(a) - rank(b) || compare(a.name, b.name));
    const troubled = all.filter((gateway) => !WELL.has(gateway.health)).length;
    byId("gateways").hidden = !all.length;
    byId("gateways-empty").hidden = all.length > 0;
    byId("gateways-empty").textContent = t("gateways.empty");
    byId("gateways-count").textContent = all.length ? t("gateways.count", { well: all.length - troubled, all: all.length }) : "";
    this.body.replaceChildren(...all.map((gateway) => this.#row(gateway)));
  }

  #row(gateway) {
    const zone = gateway.zoneId ? this.model.zoneName(gateway.zoneId) : null;
    return h("tr", { data: { gateway: gateway.id, health: gateway.health } },
      h("th", { scope: "row" }, gateway.name, zone && zone !== gateway.name ? h("span", { class: "quiet" }, zone) : null),
      h("td", {}, h("span", { class: "health" }, healthWords(gateway)), " ", ageElement(gateway.heardAt, this.model.site?.timeZone), this.#advice(gateway)),
      h("td", { class: "number" }, number(gateway.tags)),
      h("td", { class: "number wide" }, number(gateway.perMinute)));
  }

  #advice(gateway) {
    const words = [maybe(`advice.${gateway.health}`, "")];
    const blind = gateway.needed.map((id) => this.model.zoneName(id)).join(", ");
    if (blind) words.push(t("gateways.needed", { zones: blind }));
    const text = words.filter(Boolean).join(" ");
    return text ? h("span", { class: "quiet" }, text) : null;
  }
}

/** Return a gateway's health in words, with how far its clock is ahead. */
export function healthWords({ health, ahead_s }) {
  const words = maybe(`health.${health}`, health);
  return health === "clock_ahead" && known(ahead_s) ? `${words} (${inWords(ahead_s)})` : words;
}
