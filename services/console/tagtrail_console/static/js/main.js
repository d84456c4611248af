// The live page: loads one site, follows its streams, and keeps every part of the page up to date.
import { ageOf, ago, inWords, tick } from "./ages.js";
import { AlertList } from "./alerts.js";
import { get, list, serverNow, url } from "./api.js";
import { byId, gathered, h } from "./dom.js";
import { GatewayList } from "./gateways.js";
import { drawLegend } from "./legend.js";
import { Model } from "./model.js";
import { Panel } from "./panel.js";
import { Plan } from "./plan.js";
import { drawStock } from "./stock.js";
import { Stream } from "./stream.js";
import { TagList } from "./tags.js";
import { number, t, tn } from "./texts.js";
import { hint } from "./tooltip.js";

const POLL_MS = 5_000;
const DRAW_MS = 200;
const HEALTH_MS = 15_000;
const HIDDEN_MS = 60_000;
const SETTLE_MS = 700;
const REASON_MS = 2_000;
const SILENT_S = 120;
const FAMILIES = "place,stock,registry,shipment,alert";
const MOST_RETRIES = 20;

const model = new Model();
const address = new URLSearchParams(location.search);
let query = address.get("q") ?? "";
let goneSince = null;
let shown;

const panel = new Panel(model, () => {
  plan.select(null);
  remember();
});
const openTag = (id, opener) => {
  panel.open(id, opener);
  plan.select(id);
  remember();
};
const plan = new Plan(byId("plan"), model, { onTag: openTag, onHint: hint });
const tags = new TagList(model, openTag);
const gateways = new GatewayList(model);
const linked = address.get("alert");
const alerts = new AlertList(model, { onTag: openTag, onChange: () => loadAlerts(), linked });

/* ---- loading ---- */

const named = (task) => task.catch((problem) => (problem.status === 401 ? null : report(problem)));

function report(problem) {
  console.warn(problem);
  return null;
}

async function loadSites() {
  const { items } = await list("/v1/sites");
  model.sites = items.map((site) => ({
    id: site.site_id, name: site.name || site.site_id, timeZone: site.time_zone || "UTC",
    outline: site.outline_m?.length ? site.outline_m : null,
  }));
  const wanted = model.sites.find((site) => site.id === address.get("site"));
  model.site = wanted ?? model.sites.find((site) => site.id === model.site?.id) ?? model.sites[0] ?? null;
  const select = byId("site");
  select.replaceChildren(...model.sites.map((site) => h("option", { value: site.id }, site.name)));
  select.disabled = model.sites.length === 0;
  if (model.site) select.value = model.site.id;
  else select.append(h("option", {}, t("site.none")));
}

let siteLoading = null;

/** Wait until there is a site to show; asks once for all who wait. */
async function siteKnown() {
  if (model.site) return;
  shown = undefined;
  siteLoading ??= loadSites().finally(() => (siteLoading = null));
  await siteLoading;
  shown = model.site?.id;
}

async function loadPlan() {
  const site_id = model.site?.id;
  if (!site_id) return;
  const [zones, gateways, assets, known] = await Promise.all([
    list("/v1/zones", { site_id }), list("/v1/gateways", { site_id }), list("/v1/assets"), list("/v1/tags"),
  ]);
  if (site_id !== model.site?.id) return;
  model.setZones(zones.items);
  model.setGateways(gateways.items);
  model.setAssets(assets.items);
  model.setTags(known.items);
  model.known.plan = true;
}

async function loadPlaces() {
  const site_id = model.site?.id;
  if (!site_id) return null;
  const { items, position } = await list("/v1/places", { site_id });
  if (site_id !== model.site?.id) return null;
  model.setPlaces(items);
  model.reached(position);
  return position;
}

/** Load again, some times, until the answer shows what the log held at a position. */
function again(load, position, wanted, retries) {
  if (position !== null && position < wanted && retries > 0) {
    setTimeout(() => named(load(wanted, retries - 1)), SETTLE_MS);
  }
}

async function loadStock(wanted = 0, retries = MOST_RETRIES) {
  const site_id = model.site?.id;
  if (!site_id) return;
  const { items, position } = await list("/v1/stock", { site_id });
  if (site_id !== model.site?.id) return;
  again(loadStock, position, wanted, retries);
  model.setStock(items);
  model.reached(position);
  byId("stock-as-of").textContent = position === null ? "" : t("stock.as_of", { position: number(position) });
  drawStock(model, query);
  refilter();
}

async function loadAlerts(wanted = 0, retries = MOST_RETRIES) {
  const [open, taken] = await Promise.all(["open", "acknowledged"].map((state) => list("/v1/alerts", { state })));
  again(loadAlerts, open.position, wanted, retries);
  const items = [...open.items, ...taken.items];
  model.setAlerts([...items, ...(await elsewhere(items))]);
  alerts.draw();
}

/** Return the alert that a chat card linked to, if it is no longer among the open ones. */
async function elsewhere(items) {
  if (!linked || items.some((alert) => alert.alert_id === linked)) return [];
  const found = await get(`/v1/alerts/${encodeURIComponent(linked)}`).catch(() => null);
  return found ? [found] : [];
}

async function loadHealth() {
  if (!model.site) return;
  const site_id = model.site.id;
  const [{ items }, map] = await Promise.all([
    list("/v1/gateways/health", { site_id }), get(`/v1/sites/${encodeURIComponent(site_id)}/coverage`).catch(() => ({})),
  ]);
  if (site_id !== model.site?.id) return;
  model.setHealth(items, map.gateways ?? []);
  plan.drawGateways();
  gateways.draw();
}

const awaited = new Set(["drawn", "health", "events"]);

/** Note that a part of the page was filled for the first time; nothing moves any more once all were. */
function arrived(part) {
  awaited.delete(part);
  if (!awaited.size) requestAnimationFrame(() => requestAnimationFrame(() => (document.body.dataset.filled = "yes")));
}

/** Show another site: its streams load everything first, and again whenever they were away. */
function showSite() {
  shown = model.site?.id;
  panel.close();
  model.clear();
  drawEmpty();
  places.start();
  events.start();
}

function drawEmpty() {
  const key = !model.known.places && model.site ? "live.loading" : model.site ? (model.zones.size ? (model.tagsHere().length ? null : "empty.tags") : "empty.zones") : "empty.sites";
  byId("plan").hidden = model.site === null;
  byId("plan-empty").hidden = key === null;
  if (key) byId("plan-empty").textContent = t(key);
}

/* ---- following ---- */

const redraw = gathered(() => requestAnimationFrame(() => {
  plan.drawTags();
  tags.draw();
  alerts.draw();
  panel.draw();
  drawEmpty();
  drawFreshness();
  if (model.known.places || !model.site) arrived("drawn");
}), DRAW_MS);

const renewPlan = gathered(() => named(Promise.all([loadPlan(), loadPlaces()]).then(() => {
  plan.renewSite();
  redraw();
})), SETTLE_MS);
let changedAt = 0;
const renewSites = gathered(() => named(loadSites().then(() => {
  if (model.site?.id === shown) return;
  places.stop();
  events.stop();
  showSite();
})), SETTLE_MS);
const renewStock = gathered(() => named(loadStock(changedAt)), SETTLE_MS);
const renewAlerts = gathered(() => named(loadAlerts(changedAt)), SETTLE_MS / 2);
const renewHealth = gathered(() => named(loadHealth()), SETTLE_MS);
const renewPanel = gathered(() => panel.refresh(), SETTLE_MS);
const renewReason = gathered(() => named(panel.explain()), REASON_MS);

const places = new Stream(
  async () => {
    await siteKnown();
    const [, position] = await Promise.all([loadPlan(), loadPlaces()]);
    drawEmpty();
    plan.renewSite();
    redraw();
    openAsked();
    named(loadHealth()).finally(() => arrived("health"));
    return url("/v1/places/stream", { site_id: model.site?.id, after: position });
  },
  (event) => {
    model.reached(event.id);
    takePlace(event.data);
  },
  connection,
);

function takePlace(item) {
  const before = model.tags.get(item.tag_id)?.zoneId;
  const unknown = !model.tags.has(item.tag_id);
  const tag = model.setPlace(item);
  if (tag === null) return;
  if (unknown) renewPlan();
  if (model.seemsDead(item.gateway_id)) renewHealth();
  if (panel.id === tag.id) tag.zoneId === before ? renewReason() : renewPanel();
  redraw();
}

const events = new Stream(
  async () => {
    await siteKnown();
    const { position } = await get("/v1/log/head");
    await Promise.all([loadStock(), loadAlerts()]);
    arrived("events");
    return url("/v1/events/stream", { families: FAMILIES, after: position });
  },
  (event) => {
    model.reached(event.id);
    takeEvent(event.data, Number(event.id));
  },
  () => {},
);

function takeEvent({ type, data }, position) {
  if (type === "tag.positioned") return undefined;
  changedAt = position;
  if (type.startsWith("alert.")) return renewAlerts();
  if (type.startsWith("site.")) renewSites();
  if (type === "tag.presence_changed") {
    model.setPresence(data);
    if (panel.id === data.tag_id) renewPanel();
    return redraw();
  }
  if (/\.(registered|retired)$/.test(type)) renewPlan();
  if (/^tag\.(bound|unbound)$/.test(type)) renewPlan();
  renewStock();
  if (panel.id !== null) renewPanel();
  return undefined;
}

function connection(state, cause) {
  if (state === "live") goneSince = null;
  else if (state === "waiting") goneSince ??= serverNow();
  if (state === "refused") cause.status === 401 ? document.dispatchEvent(new Event("session-over")) : report(cause);
  byId("connection").dataset.state = state === "connecting" && goneSince !== null ? "waiting" : state;
  byId("connection").title = cause?.message ?? "";
  drawConnection();
}

function drawConnection() {
  const lamp = byId("connection");
  const stale = goneSince !== null && ageOf(goneSince) > 10;
  if (stale) lamp.dataset.state = "stale";
  const words = stale
    ? t("connection.stale", { age: inWords(ageOf(goneSince)) })
    : t(`connection.${lamp.dataset.state}`);
  const place = lamp.querySelector(".words");
  if (place.textContent !== words) place.textContent = words;
}

function drawFreshness() {
  const newest = model.newestHeard();
  const parts = [];
  if (newest !== null) {
    const age = ageOf(newest);
    parts.push(age > SILENT_S ? t("freshness.silent", { age: inWords(age) }) : t("freshness.newest", { ago: ago(newest) }));
  }
  if (model.position !== null) parts.push(t("freshness.position", { position: number(model.position) }));
  byId("freshness").textContent = parts.join(" · ");
}

/* ---- searching ---- */

function refilter() {
  const fits = (tag) => model.fits(tag, query);
  plan.filter(fits);
  tags.filter(fits);
  drawStock(model, query);
  byId("found").textContent = query ? tn("search.found", model.tagsHere().filter(fits).length) : "";
}

function remember() {
  const next = new URLSearchParams();
  if (model.site) next.set("site", model.site.id);
  if (query) next.set("q", query);
  if (panel.id) next.set("tag", panel.id);
  history.replaceState(null, "", `?${next}`);
}

/* ---- small things ---- */

function wire() {
  drawLegend(byId("legend"));
  byId("zoom-in").addEventListener("click", () => plan.zoom(1.5));
  byId("zoom-out").addEventListener("click", () => plan.zoom(1 / 1.5));
  byId("zoom-fit").addEventListener("click", () => plan.fit());
  const search = byId("search");
  search.value = query;
  search.addEventListener("input", () => {
    query = search.value.trim();
    refilter();
    remember();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const first = model.tagsHere().find((tag) => query && model.fits(tag, query));
    if (first) openTag(first.id, search);
  });
  byId("site").addEventListener("change", (event) => {
    model.site = model.sites.find((site) => site.id === event.target.value) ?? null;
    places.stop();
    events.stop();
    remember();
    showSite();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });
  document.addEventListener("session-over", () => {
    places.stop();
    events.stop();
    byId("ended").hidden = false;
  });
  watchVisibility();
}

/** A tab that nobody looks at holds no streams; when it is looked at again it catches up first. */
function watchVisibility() {
  let timer = null;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) {
      timer = setTimeout(() => (places.stop(), events.stop()), HIDDEN_MS);
    } else if (model.site && byId("ended").hidden) {
      places.start();
      events.start();
    }
  });
}

/** Open the tag that the address names, once, as soon as the page knows the tags. */
function openAsked() {
  const tag = address.get("tag");
  address.delete("tag");
  refilter();
  if (tag) openTag(tag, byId("search"));
  remember();
}

setInterval(() => {
  if (document.hidden) return;
  tick();
  drawConnection();
  drawFreshness();
}, 1000);
setInterval(() => document.hidden || named(loadHealth()), HEALTH_MS);
setInterval(() => {
  const fell_back = goneSince !== null && !document.hidden;
  if (fell_back) named(loadPlaces().then(redraw));
}, POLL_MS);

wire();
showSite();
