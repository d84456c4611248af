// What the page knows, in one place. The services' JSON is read here and nowhere else.
import { ageOf, timeOf as time } from "./ages.js";
import { UNKNOWN, compare } from "./texts.js";

/** A tag that was silent for longer is drawn grey until the services say more, seconds. */
const QUIET_S = 300;

/** Return why a tag is silent and how probably it is gone; null while it is present. */
function silenceOf(state, told) {
  if (state === null || state === "present") return null;
  return { cause: told.cause ?? null, gone: told.gone_probability ?? null, lost: told.lost === true };
}

/** States of a gateway that is not heard itself, and of those that hear nothing. */
const GONE = new Set(["never_heard", "offline", "silent"]);
const DEAD = new Set([...GONE, "deaf"]);

export class Model {
  constructor() {
    this.sites = [];
    this.site = null;
    /** Alerts acknowledged from here: the services show it a moment later. */
    this.acknowledged = new Set();
    this.clear();
  }

  /** Forget everything of the site shown so far. */
  clear() {
    this.zones = new Map();
    this.gateways = new Map();
    this.strangers = [];
    this.assets = new Map();
    this.tags = new Map();
    this.stock = [];
    this.carried = new Map();
    this.here = null;
    this.alerts = [];
    this.position = null;
    this.known = { plan: false, places: false, stock: false, alerts: false, health: false };
  }

  setZones(items) {
    this.zones = new Map(items.map((z) => [z.zone_id, {
      id: z.zone_id, name: z.name || z.zone_id, kind: z.kind ?? "other",
      outline: z.outline_m?.length ? z.outline_m : null,
    }]));
  }

  setGateways(items) {
    const before = this.gateways;
    this.gateways = new Map(items.map((g) => [g.gateway_id, {
      id: g.gateway_id, name: g.name || g.gateway_id, zoneId: g.zone_id ?? null,
      x: g.x_m ?? null, y: g.y_m ?? null, health: before.get(g.gateway_id)?.health ?? "unknown",
      heardAt: before.get(g.gateway_id)?.heardAt ?? null, perMinute: before.get(g.gateway_id)?.perMinute ?? null,
      tags: before.get(g.gateway_id)?.tags ?? null, ahead_s: before.get(g.gateway_id)?.ahead_s ?? null,
      needed: before.get(g.gateway_id)?.needed ?? [],
    }]));
  }

  /**
   * Take how the gateways are. A gateway that lives may still be deaf: only the coverage map tells.
   *
   * @param items Of `/v1/gateways/health`.
   * @param coverage Gateways of `/v1/sites/{id}/coverage`; empty if it could not be had.
   */
  setHealth(items, coverage = []) {
    const ears = new Map(coverage.map((g) => [g.gateway_id, g]));
    this.strangers = [];
    for (const item of items) {
      const gateway = this.gateways.get(item.gateway_id) ?? this.#stranger(item);
      const ear = ears.get(item.gateway_id);
      const living = !GONE.has(item.state);
      gateway.health = living && ear?.state === "deaf" ? "deaf" : item.state;
      gateway.heardAt = time(item.last_heard_at);
      gateway.perMinute = item.sightings_per_min ?? null;
      gateway.tags = item.tags_heard ?? null;
      gateway.ahead_s = item.clock_ahead_s ?? null;
      gateway.needed = ear?.blind_without_it ?? [];
    }
    this.known.health = true;
  }

  /** Whether a gateway is shown as dead; one that hears a tag no longer is. */
  seemsDead(gatewayId) {
    return DEAD.has(this.gateways.get(gatewayId)?.health);
  }

  setAssets(items) {
    this.here = null;
    this.assets = new Map(items.map((a) => [a.asset_id, {
      id: a.asset_id, name: a.name || a.asset_id, kind: a.kind ?? "crate",
    }]));
  }

  /** Take the list of tags; places that are known already stay. */
  setTags(items) {
    this.here = null;
    for (const item of items) {
      const tag = this.#tag(item.tag_id);
      tag.label = item.label ?? null;
      tag.model = item.model ?? null;
      tag.assetId = item.asset_id ?? null;
      tag.presence ??= item.presence ?? null;
    }
  }

  /** Take all places of the site: a tag that is not among them is no longer here. */
  setPlaces(items) {
    this.here = null;
    const here = new Set(items.map((item) => item.tag_id));
    for (const tag of this.tags.values()) if (!here.has(tag.id)) tag.siteId = null;
    for (const item of items) this.setPlace(item);
    this.known.places = true;
  }

  /** Take one tag's place; returns the tag, or null if an older place came late. */
  setPlace(item) {
    const tag = this.#tag(item.tag_id);
    const heardAt = time(item.last_heard_at);
    if (tag.heardAt !== null && heardAt !== null && heardAt < tag.heardAt) return null;
    if (tag.siteId !== (item.site_id ?? null)) this.here = null;
    Object.assign(tag, {
      siteId: item.site_id ?? null, zoneId: item.zone_id ?? null,
      x: item.x_m ?? null, y: item.y_m ?? null, accuracy: item.accuracy_m ?? null, radius95: item.radius_95_m ?? null,
      method: item.method ?? "ble_zone", confidence: item.confidence ?? null,
      since: time(item.since_at), heardAt, presence: item.presence ?? null,
    });
    tag.silence = silenceOf(item.presence ?? null, item);
    return tag;
  }

  /** Take a judgement about a tag's silence, as the log tells it when it changes. */
  setPresence(item) {
    const tag = this.tags.get(item.tag_id);
    if (!tag) return;
    tag.presence = item.state;
    tag.silence = silenceOf(item.state, item);
  }

  /** Take the judgement that an explanation holds; `report` is null for tags whose silence means nothing. */
  learnPresence(id, report) {
    const tag = this.tags.get(id);
    if (!tag || !report || report.state !== tag.presence) return;
    tag.silence = silenceOf(report.state, { ...report, lost: report.grade === "lost" });
  }

  setStock(items) {
    this.stock = items.map((l) => ({
      zoneId: l.zone_id ?? null, sku: l.sku, lot: l.lot ?? null, quantity: l.quantity,
      verified: l.verified, assets: l.asset_ids, custody: l.custody, unit: l.unit,
      name: l.sku_name ?? "", zoneName: l.zone_name ?? null,
    }));
    this.carried = new Map();
    for (const { sku, name, assets } of this.stock) {
      for (const id of assets) this.carried.set(id, `${this.skusOf(id)} ${sku} ${name}`);
    }
    this.known.stock = true;
  }

  setAlerts(items) {
    this.alerts = items.map((a) => ({
      id: a.alert_id, state: a.state === "open" && this.acknowledged.has(a.alert_id) ? "acknowledged" : a.state, severity: a.severity ?? "warning", title: a.title,
      what: a.what ?? null, where: a.where ?? null, why: a.why ?? null, next: a.next_step ?? null, cause: a.cause ?? null,
      firedAt: time(a.fired_at ?? a.since_at), sinceAt: time(a.since_at),
      tagId: a.tag_id ?? null, assetId: a.asset_id ?? null, siteId: a.site_id ?? null,
    }));
    this.known.alerts = true;
  }

  /** Note how far into the log the page's data reaches. */
  reached(position) {
    const value = Number(position);
    if (Number.isFinite(value) && position !== null) this.position = Math.max(this.position ?? 0, value);
  }

  /** Tags that are on this site now, by name. */
  tagsHere() {
    this.here ??= [...this.tags.values()]
      .filter((tag) => tag.siteId === this.site?.id)
      .sort((a, b) => compare(this.nameOf(a), this.nameOf(b)));
    return this.here;
  }

  /** Return the tag that an alert is about: its own, or the one that its asset carries. */
  tagOf(alert) {
    const carried = [...this.tags.values()].find((tag) => tag.assetId !== null && tag.assetId === alert.assetId);
    return alert.tagId ?? carried?.id ?? null;
  }

  nameOf(tag) {
    return this.assets.get(tag.assetId)?.name ?? tag.label ?? tag.id;
  }

  zoneName(zoneId) {
    return this.zones.get(zoneId)?.name ?? zoneId;
  }

  gatewayName(id) {
    return this.gateways.get(id)?.name ?? id ?? UNKNOWN;
  }

  /** What a dot's colour tells: present, overdue, missing, unobservable, or quiet. */
  stateOf(tag) {
    if (tag.presence !== null && tag.presence !== "present") return tag.presence;
    return (ageOf(tag.heardAt) ?? Infinity) > QUIET_S ? "quiet" : "present";
  }

  /** What a tag's state is called: as `stateOf`, but a missing tag that nobody need wait for is lost. */
  gradeOf(tag) {
    const state = this.stateOf(tag);
    return state === "missing" && tag.silence?.lost ? "lost" : state;
  }

  newestHeard() {
    let newest = null;
    for (const tag of this.tagsHere()) newest = Math.max(newest ?? 0, tag.heardAt);
    return newest;
  }

  /** SKUs that lie on an asset, with their names, as the stock says. */
  skusOf(assetId) {
    return this.carried.get(assetId) ?? "";
  }

  /** Whether a tag fits what was typed: its asset, label, id, zone or contents. */
  fits(tag, query) {
    if (!query) return true;
    const asset = this.assets.get(tag.assetId);
    const words = [tag.id, tag.label, asset?.id, asset?.name, asset?.kind, this.zoneName(tag.zoneId)];
    if (asset) words.push(this.skusOf(asset.id));
    return fold(words.filter(Boolean).join(" ")).includes(fold(query));
  }

  /** Return a gateway that is heard on the site though nobody registered it. */
  #stranger({ gateway_id }) {
    const gateway = { id: gateway_id, name: gateway_id, zoneId: null, x: null, y: null };
    this.strangers.push(gateway);
    return gateway;
  }

  #tag(id) {
    if (!this.tags.has(id)) {
      this.tags.set(id, {
        id, label: null, model: null, assetId: null, siteId: null, zoneId: null,
        x: null, y: null, accuracy: null, radius95: null, method: "ble_zone", confidence: null, since: null,
        heardAt: null, presence: null, silence: null,
      });
    }
    return this.tags.get(id);
  }
}

/** Make two spellings of a word equal: case and accents do not count in a search. */
export function fold(text) {
  return text.normalize("NFD").replace(/\p{Diacritic}/gu, "").toLowerCase().trim();
}
