// What a place rests on, as tables: sources, zones, gateways, distances, and who did not hear the tag.
import { ageElement, durationElement, inWords, timeOf } from "./ages.js";
import { h } from "./dom.js";
import { bar, table } from "./figures.js";
import { known, maybe, number, percent, t } from "./texts.js";

const MOST_ZONES = 6;
const LIKELY = 0.5;

/** A gateway that did not hear a tag for so many of its intervals fell silent. */
const SILENT_INTERVALS = 5;

/** What the tables need besides the figures: names, and the moment that ages count back from. */
export class Sight {
  constructor(body, model) {
    this.model = model;
    this.at = timeOf(body.at);
    this.timeZone = model.site?.timeZone;
  }

  zone(id) {
    return id === null || id === undefined ? t("zone.none") : this.model.zoneName(id);
  }

  gateway(id) {
    return this.model.gatewayName(id);
  }

  /** Return an element that keeps telling how old something is that was so old at the moment. */
  age(age_s) {
    return durationElement(known(age_s) && this.at !== null ? this.at - age_s * 1000 : null, this.timeZone);
  }
}

const isForeign = (source) => (source.source_class ?? "own") !== "own";

/** The sources that ever spoke, in the order in which they are believed; null if it is only one of one's own. */
export function sourcesTable(found, sight) {
  if (found.length < 2 && !found.some(isForeign)) return null;
  const winner = found.find((source) => source.votes);
  return table(t("explain.sources"), [
    { label: t("explain.source") }, { label: t("explain.says") }, { label: t("explain.age"), number: true }, { label: t("explain.verdict") },
  ], found.map((source) => [
    sourceWords(source), sight.zone(source.zone_id), sight.age(source.age_s), t(`source.${standing(source, winner)}`),
  ]));
}

function sourceWords(source) {
  const method = maybe(`method.${source.method}`, source.method);
  const whose = isForeign(source) ? maybe(`class.${source.source_class}`, source.source_class) : null;
  return whose ? [method, h("span", { class: "quiet" }, ` (${whose})`)] : method;
}

function standing(source, winner) {
  if (!source.votes && known(source.counts_for_s) && source.age_s > source.counts_for_s) return "stale";
  if (!source.votes) return isForeign(source) ? "yields" : "undecided";
  if (source === winner) return "decides";
  return source.zone_id === winner.zone_id ? "agrees" : "overruled";
}

/** How probable each zone is. */
export function candidatesTable(body, sight) {
  const found = body.candidates ?? [];
  if (!found.length) return null;
  const caption = t(body.method === "ble_zone" ? "explain.candidates" : "explain.candidates_radio");
  const shown = found.filter((c, i) => i < MOST_ZONES || c.zone_id === body.zone_id);
  return table(caption, [{ label: t("explain.zone") }, { label: t("explain.probability") }], shown.map((c) => [
    [sight.zone(c.zone_id), c.zone_id === body.zone_id ? h("span", { class: "quiet" }, ` ${t("explain.chosen")}`) : null], bar(c.probability),
  ]));
}

/** What each gateway heard, against what is expected where the tag is; those that fell silent stand last. */
export function gatewaysTable(body, sight) {
  const links = body.links ?? [];
  if (!links.length) return null;
  const silent = (link) => Number(link.age_s > SILENT_INTERVALS * (body.belief?.interval_s ?? Infinity));
  const strongest = [...links].sort((a, b) => silent(a) - silent(b) || (b.smoothed_dbm ?? -Infinity) - (a.smoothed_dbm ?? -Infinity));
  return table(t("explain.links"), [
    { label: t("explain.gateway") }, { label: t("explain.heard"), number: true }, { label: t("explain.expected"), number: true },
    { label: t("explain.readings"), number: true }, { label: t("explain.age"), number: true },
  ], strongest.map((link) => [
    sight.gateway(link.gateway_id), number(link.smoothed_dbm), number(link.expected_dbm), number(link.readings_ever), sight.age(link.age_s),
  ]));
}

/** Return elements about measured distances: who was believed, and what else fits. */
export function ranging(found, sight) {
  if (!found) return [];
  const places = found.candidates ?? [];
  return [
    found.trouble ? h("p", { class: "note" }, t("explain.no_position", { reason: maybe(`trouble.${found.trouble}`, found.trouble) })) : null,
    anchorsTable(found, sight),
    places.length > 1 ? h("p", { class: "note" }, t("explain.places", { places: places.map(placeWords).join("; ") })) : null,
    found.rest ? h("p", { class: "quiet" }, t("explain.rest", { rounds: number(found.rest.rounds), r: number(found.rest.accuracy_m, 2) })) : null,
  ];
}

const placeWords = ({ x_m, y_m, probability }) => t("explain.place", { x: number(x_m, 1), y: number(y_m, 1), share: percent(probability) });

function anchorsTable(found, sight) {
  const anchors = found.anchors ?? [];
  if (!anchors.length) return null;
  const off = new Map((found.rejected ?? []).map((r) => [r.gateway_id, r.residual_m]));
  const blocked = found.rest?.blocked ?? {};
  const word = (id) => {
    if (off.has(id)) return t("explain.refused", { n: number(off.get(id), 1) });
    return t(blocked[id] > LIKELY ? "explain.blocked" : "explain.used");
  };
  return table(t("explain.ranges"), [
    { label: t("explain.anchor") }, { label: t("explain.range"), number: true }, { label: t("explain.verdict") }, { label: t("explain.age"), number: true },
  ], anchors.map((a) => [
    sight.gateway(a.gateway_id), t("explain.metres", { n: number(a.range_m, 2) }), word(a.gateway_id), sight.age(a.age_s),
  ]));
}

/** Who should have heard it and did not; null if nobody. */
export function notHeard(found, sight) {
  if (!found.length) return null;
  return h("div", {}, h("h4", {}, t("explain.unheard")), h("ul", { class: "steps" }, found.map((n) => h("li", {}, unheard(n, sight)))));
}

function unheard(n, sight) {
  const names = {
    gateway: sight.gateway(n.gateway_id), expected: inWords(n.expected_within_s), silent: inWords(n.silent_s), share: percent(n.share_expected),
  };
  if (!n.gateway_alive) {
    return [t("explain.gateway_down", names), " ", h("span", { class: "quiet" }, ageElement(timeOf(n.gateway_heard_at), sight.timeZone))];
  }
  if (n.why === "usual") return t(known(n.silent_s) ? "explain.not_heard" : "explain.not_heard_yet", names);
  return t(known(n.silent_s) ? "explain.not_heard_map" : "explain.never_heard_map", names);
}
