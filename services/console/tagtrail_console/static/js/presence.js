// Whether a tag is still there: what its silence means, how sure that is, and where to look first.
import { ageElement, ageOf, every, inWords, timeOf } from "./ages.js";
import { h } from "./dom.js";
import { bar, folded, table } from "./figures.js";
import { causeWords } from "./reasons.js";
import { known, maybe, number, percent, t, tn } from "./texts.js";

const LOW_PCT = 20;
const LEAST_SHOWN = 0.005;

/** Return the word for a tag's state, with its colour and mark. */
export const stateBadge = (state, grade = state) => h("span", { class: "state", data: { state } }, maybe(`state.${grade}`, grade ?? state));

/** Return the state of a tag in one line: badge, age, cause, how probably it is gone. */
export function presenceLine(model, tag) {
  const silence = tag.silence;
  const more = [causeWords(silence?.cause), known(silence?.gone) ? t("presence.gone_short", { share: percent(silence.gone) }) : null];
  return [
    stateBadge(model.stateOf(tag), model.gradeOf(tag)), " ", ageElement(tag.heardAt, model.site?.timeZone),
    ...more.filter(Boolean).map((words) => ` · ${words}`),
  ];
}

/** Return elements that show what locate thinks of a tag's silence; `report` may be null. */
export function drawPresence(report, model) {
  if (!report) return [h("p", { class: "empty" }, t("presence.passive"))];
  const away = report.state !== "present";
  return [
    verdict(report, model),
    away ? h("p", { class: "measure" }, h("span", {}, t("presence.gone")), bar(report.gone_probability)) : null,
    away ? lookFirst(report.look_first ?? [], model) : null,
    h("p", { class: "quiet" }, cadence(report)),
    battery(report.battery, model),
    away ? witnesses(report.witnesses ?? [], model) : null,
    away ? causes(report.causes ?? []) : null,
    h("p", { class: "quiet" }, t("presence.judged"), " ", ageElement(timeOf(report.site_heard_at), model.site?.timeZone)),
  ].filter(Boolean);
}

function verdict(report, model) {
  const since = timeOf(report.since_at);
  const words = causeWords(report.cause, report.because);
  return h("p", { class: "note" },
    stateBadge(report.state, report.grade ?? report.state),
    since === null || report.state === "present" ? null : [" ", ageElement(since, model.site?.timeZone, lasting)],
    words ? `: ${words}.` : null);
}

const lasting = (since) => t("presence.for", { age: inWords(ageOf(since)) });

function lookFirst(places, model) {
  if (!places.length) return null;
  return h("div", {}, h("h4", {}, t("presence.look_first")),
    h("ol", { class: "steps" }, places.map((place) => h("li", {},
      h("b", {}, model.zoneName(place.zone_id)), " ",
      h("span", { class: "quiet" }, maybe(`look.${place.reason}`, place.sentence ?? ""))))));
}

function cadence(report) {
  const key = report.interval_learned ? "presence.learned" : "presence.expected";
  const parts = [t(key, { interval: every(report.expected_interval_s) })];
  if (report.state !== "present") parts.push(t("presence.silent", { silent: inWords(report.silent_s), observed: inWords(report.observed_silence_s) }));
  parts.push(t("presence.limits", {
    overdue: inWords(report.overdue_after_s), missing: inWords(report.missing_after_s), lost: inWords(report.lost_after_s),
  }));
  return parts.join(" ");
}

function battery(told, model) {
  if (!known(told?.charge_pct)) return null;
  const falls = known(told.falls_pct_per_day) && told.falls_pct_per_day > 0
    ? ` · ${t("presence.falls", { n: number(told.falls_pct_per_day, told.falls_pct_per_day < 10 ? 2 : 0) })}` : "";
  return h("p", { class: "battery", data: { low: told.charge_pct <= LOW_PCT ? "yes" : "no" } },
    t("presence.battery", { charge: percent(told.charge_pct / 100) }), " · ",
    ageElement(timeOf(told.told_at), model.site?.timeZone), falls);
}

function witnesses(found, model) {
  if (!found.length) return null;
  return table(t("presence.witnesses"), [
    { label: t("explain.gateway") }, { label: t("presence.usual"), number: true },
    { label: t("presence.missed"), number: true }, { label: t("presence.listened"), number: true },
  ], found.map((w) => [
    [model.gatewayName(w.gateway_id), w.deaf ? h("span", { class: "fault" }, ` ${t("health.deaf")}`) : null],
    percent(w.hears_share), number(w.adverts_missed), inWords(w.listened_s),
  ]));
}

function causes(found) {
  const shown = found.filter((c) => c.probability >= LEAST_SHOWN);
  if (!shown.length) return null;
  return folded("causes", tn("presence.causes", shown.length),
    table(t("presence.causes_caption"), [{ label: t("presence.cause") }, { label: t("explain.probability") }],
      shown.map((c) => [causeWords(c.cause, c.sentence), bar(c.probability)])));
}
