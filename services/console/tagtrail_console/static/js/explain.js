// Why a tag is said to be where it is: the reason first, then what it rests on, with ages.
import { ageElement, every, inWords, timeOf } from "./ages.js";
import { h } from "./dom.js";
import { Sight, candidatesTable, gatewaysTable, notHeard, ranging, sourcesTable } from "./evidence.js";
import { figures, folded } from "./figures.js";
import { kindOf, reasonWords } from "./reasons.js";
import { known, maybe, number, percent, t, tn } from "./texts.js";

/** Return elements that show what `/v1/tags/{id}/explain` answers; any member may be missing. */
export function drawExplanation(body, model) {
  const sight = new Sight(body, model);
  return [
    verdict(body, sight),
    body.settling ? h("p", { class: "quiet" }, t("explain.settling")) : null,
    body.conflict?.length ? h("p", { class: "note" }, t("explain.conflict")) : null,
    body.configuration_trouble ? h("p", { class: "fault" }, t("explain.trouble", { reason: body.configuration_trouble })) : null,
    sourcesTable(body.sources ?? [], sight),
    candidatesTable(body, sight),
    gatewaysTable(body, sight),
    ...ranging(body.ranging, sight),
    notHeard(body.not_heard ?? [], sight),
    settings(body),
    footer(body, sight),
  ].filter(Boolean);
}

function verdict(body, sight) {
  const winner = (body.sources ?? []).find((source) => source.votes);
  if (!winner) {
    const words = body.sources ? t(body.sources.length ? "explain.stale_sources" : "explain.no_source") : body.because ?? t("panel.explain.none");
    return h("p", { class: "verdict", data: { kind: "unknown" } }, h("b", {}, t("verdict.unknown")), " ", words);
  }
  const kind = kindOf(winner.reason);
  const words = reasonWords(winner.reason, {
    sentence: winner.sentence, zone: sight.zone(winner.zone_id), other: rivalOf(body, winner, sight), led: ledOf(winner),
  });
  const { gateway_id, what } = winner.by ?? {};
  return h("p", { class: "verdict", data: { kind } }, h("b", {}, t(`verdict.${kind}`)), " ", words,
    what ? ` ${t("explain.by", { what, gateway: sight.gateway(gateway_id) })}` : null);
}

/** Return the name of the zone that a tag would move to: the one that waits, or the most probable other one. */
function rivalOf(body, winner, sight) {
  if (winner.candidate) return sight.zone(winner.candidate.zone_id);
  const other = (body.candidates ?? []).find((c) => c.zone_id !== winner.zone_id);
  return other ? sight.zone(other.zone_id) : null;
}

const ledOf = (winner) => (known(winner.candidate?.led_s) ? inWords(winner.candidate.led_s) : null);

const metres = (value) => (known(value) ? t("explain.metres", { n: number(value, 1) }) : null);
const wait = (ms) => (known(ms) ? inWords(ms / 1000) : null);
const share = (value) => (known(value) ? percent(value) : null);

/** Return the limits that decide, folded away; those that do not apply are left out. */
function settings({ fence, belief, method, lag_s, late_readings }) {
  const radio = fence && method === "ble_zone";
  return folded("settings", t("explain.settings"), figures([
    [t("fence.enter"), radio ? share(fence.enter_probability) : null],
    [t("fence.exit"), radio ? share(fence.exit_probability) : null],
    [t("fence.tolerance"), fence ? metres(fence.exit_tolerance_m) : null],
    [t("fence.delay"), fence ? wait(fence.exit_delay_ms) : null],
    [t("fence.evaluations"), known(fence?.exit_evaluations) ? number(fence.exit_evaluations) : null],
    [t("fence.border"), fence ? wait(fence.tolerance_timeout_ms) : null],
    [t("fence.timeout"), known(fence?.timeout_ms) ? (fence.timeout_ms < 0 ? t("fence.never") : wait(fence.timeout_ms)) : null],
    [t("fence.outside"), timeOf(fence?.outside_since_at) === null ? null : ageElement(timeOf(fence.outside_since_at))],
    [t("belief.interval"), known(belief?.interval_s) ? every(belief.interval_s) : null],
    [t("belief.estimate"), estimate(belief)],
    [t("belief.lag"), lag_s > 0 ? inWords(lag_s) : null],
    [t("belief.late"), late_readings > 0 ? number(late_readings) : null],
  ]));
}

function estimate(belief) {
  if (!belief) return null;
  if (!belief.placed) return t("belief.zones_only");
  if (!known(belief.x_m) || !known(belief.y_m)) return null;
  return t("belief.point", { x: number(belief.x_m, 1), y: number(belief.y_m, 1), r: number(belief.radius_95_m, 1) });
}

function footer(body, sight) {
  const more = [
    Array.isArray(body.evidence) ? tn("explain.evidence", body.evidence.length) : null,
    body.configuration ? t("explain.configuration", { version: body.configuration }) : null,
  ].filter(Boolean);
  return h("p", { class: "quiet" }, t("explain.decided"), " ", ageElement(sight.at, sight.timeZone), more.map((words) => ` · ${words}`));
}
