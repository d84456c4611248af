// Why a tag is said to be where it is: the reason first, then what was heard, with its ages.
import { inWords } from "./ages.js";
import { h } from "./dom.js";
import { maybe, number, percent, t, tn } from "./texts.js";

/** Return elements that show what `/v1/tags/{id}/explain` answers. */
export function drawExplanation(body, model) {
  return [
    h("p", { class: "note" }, body.because),
    conflict(body.conflict ?? [], model),
    ranges(body.ranging, model),
    candidates(body.candidates ?? [], model),
    notHeard(body.not_heard ?? [], model),
    presence(body.presence),
    h("p", { class: "quiet" }, [
      tn("explain.evidence", body.evidence.length), t("explain.configuration", { version: body.configuration }),
    ].join(" · ")),
  ].filter(Boolean);
}

const gatewayName = (id, model) => model.gateways.get(id)?.name ?? id;
const zoneName = (id, model) => (id === null ? t("zone.none") : model.zoneName(id));

function table(heads, rows) {
  const numeric = (i) => (i > 1 ? { class: "number" } : {});
  return h("table", { class: "evidence" },
    h("thead", {}, h("tr", {}, heads.map((head, i) => h("th", { scope: "col", ...numeric(i) }, head)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) => h("td", numeric(i), cell))))));
}

function candidates(found, model) {
  if (!found.length) return null;
  return table(
    [t("explain.zone"), t("explain.heard_by"), t("explain.distance"), t("explain.share")],
    found.slice(0, 5).map((c) => [
      zoneName(c.zone_id, model), gatewayName(c.gateway_id, model),
      t("explain.metres", { n: number(c.distance_m, 1) }), percent(c.probability),
    ]));
}

function ranges(ranging, model) {
  if (!ranging) return null;
  const refused = new Map(ranging.rejected.map((r) => [r.gateway_id, r.residual_m]));
  return table(
    [t("explain.anchor"), t("explain.verdict"), t("explain.range"), t("explain.age")],
    ranging.anchors.map((a) => [
      gatewayName(a.gateway_id, model), t(refused.has(a.gateway_id) ? "explain.refused" : "explain.used"),
      t("explain.metres", { n: number(a.range_m, 2) }), inWords(a.age_s),
    ]));
}

function conflict(found, model) {
  if (!found.length) return null;
  const others = found.map((c) => t("explain.other", {
    method: maybe(`method.${c.method}`, c.method), zone: zoneName(c.zone_id, model), age: inWords(c.age_s),
  }));
  return h("p", { class: "note" }, t("explain.conflict", { others: others.join("; ") }));
}

function notHeard(found, model) {
  if (!found.length) return null;
  return h("ul", {}, found.map((n) => h("li", { class: "note" }, t(n.gateway_alive ? "explain.not_heard" : "explain.gateway_down", {
    gateway: gatewayName(n.gateway_id, model), silent: inWords(n.silent_s), expected: inWords(n.expected_within_s),
  }))));
}

function presence(found) {
  if (!found) return null;
  return h("p", { class: "quiet" }, t("explain.presence", {
    interval: inWords(found.expected_interval_s), overdue: inWords(found.overdue_after_s), missing: inWords(found.missing_after_s),
  }));
}
