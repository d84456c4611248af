// What is drawn where: the zones' shapes, the part of the plane that is seen, and the spots of tags
// that have no coordinates.
import { area, bounds, slots } from "./geometry.js";
import { t } from "./texts.js";

/** Height of a line of a zone's label, pixels. */
export const LABEL_PX = 19;
const DOT_PX = 17;
const MARGIN = 0.04;

/** Where tags stand that are in no zone known to the page. */
export const NOWHERE = "\u0000nowhere";

export const path = (outline) => outline.map(([x, y]) => `${x},${-y}`).join(" ");

export const hasPoint = (tag) => tag.x !== null && tag.y !== null;

export function middle(outline) {
  const box = bounds(outline);
  return [(box.left + box.right) / 2, (box.bottom + box.top) / 2];
}

/** Return the zones' shapes. Those that nobody has drawn yet stand in a row below the plan. */
export function shapesOf(model) {
  const drawn = [...model.zones.values()].filter((zone) => zone.outline);
  const points = [...drawn.flatMap((zone) => zone.outline), ...(model.site?.outline ?? [])];
  const box = points.length ? bounds(points) : { left: 0, bottom: 0, right: 24, top: 0 };
  const shapes = new Map(drawn.sort((a, b) => area(b.outline) - area(a.outline))
    .map((zone) => [zone.id, { ...zone, drawn: true }]));
  const undrawn = [...model.zones.values()].filter((zone) => !zone.outline);
  const strays = [...model.tagsHere()].some((tag) => !hasPoint(tag) && !model.zones.has(tag.zoneId));
  if (strays || !model.zones.size) undrawn.push({ id: NOWHERE, name: t("zone.none"), kind: "other" });
  const columns = Math.min(undrawn.length, 4);
  const gap = Math.max((box.right - box.left) * 0.02, 0.3);
  const width = (box.right - box.left - gap * (columns - 1)) / Math.max(columns, 1);
  undrawn.forEach((zone, i) => {
    const left = box.left + (i % columns) * (width + gap);
    const top = box.bottom - gap * 2 - Math.floor(i / columns) * (width * 0.5 + gap);
    const right = left + width;
    const bottom = top - width * 0.5;
    shapes.set(zone.id, { ...zone, drawn: false, outline: [[left, bottom], [right, bottom], [right, top], [left, top]] });
  });
  return shapes;
}

/** Return the part of the plane that holds everything, with a margin. */
export function frameOf(model, shapes) {
  const points = [...shapes.values()].flatMap((shape) => shape.outline).concat(model.site?.outline ?? []);
  for (const g of model.gateways.values()) if (g.x !== null && g.y !== null) points.push([g.x, g.y]);
  const box = bounds(points);
  const margin = Math.max(box.right - box.left, box.top - box.bottom) * MARGIN;
  return {
    x: box.left - margin, y: -box.top - margin,
    width: box.right - box.left + 2 * margin, height: box.top - box.bottom + 2 * margin,
  };
}

/** Whether a tag's method tells its zone and nothing finer, so that any point is only a hint. */
export const isZonal = (tag) => !hasPoint(tag) || tag.method === "ble_zone" || tag.method === "claimed";

/**
 * Give tags that are known by zone a spot of their own in it, near their hint where they have one.
 * They keep it while they stay, so that the noise of signal strengths does not make them dance.
 *
 * @param tags The tags that want a spot.
 * @param shapeFor Returns the shape in which a tag wants it, or null.
 * @param masts Gateways by id; spots keep clear of them.
 * @param k Metres per pixel.
 * @returns {Map<string, {spot: number[], size: number}>} Spot and size of the mark, 0 to 1, by tag id.
 */
export function seated(tags, shapeFor, masts, k) {
  const wanting = new Map();
  for (const tag of tags) {
    const shape = shapeFor(tag);
    if (!shape) continue;
    if (!wanting.has(shape)) wanting.set(shape, []);
    wanting.get(shape).push(tag);
  }
  const avoid = [...masts.values()].map((mast) => mast.spot);
  const spots = new Map();
  for (const [shape, guests] of wanting) {
    const { places, step } = placesIn(shape, guests.length, k, avoid);
    const size = Math.min(1, step / (1.1 * DOT_PX * k));
    for (const [id, seat] of seatsOf(shape, guests, places, step)) {
      spots.set(id, { spot: places[seat] ?? middle(shape.outline), size });
    }
  }
  return spots;
}

/** Return the places in a shape; they change only with its crowd, the zoom, or the gateways. */
function placesIn(shape, guests, k, avoid) {
  const room = Math.max(16, 2 ** Math.ceil(Math.log2(guests * 1.25)));
  const key = `${room} ${k} ${avoid}`;
  if (shape.key !== key) {
    shape.key = key;
    shape.seats = new Map();
    shape.grid = slots(shape.outline, room, 1.35 * DOT_PX * k, 1.5 * LABEL_PX * k, avoid);
  }
  return shape.grid;
}

/** Return which seat each tag has: the one it had if its hint is still near, else the nearest free. */
function seatsOf(shape, guests, places, step) {
  const away = (tag, seat) => Math.hypot(places[seat][0] - tag.x, places[seat][1] - tag.y);
  const stays = (tag, seat) => places[seat] !== undefined && (!hasPoint(tag) || away(tag, seat) < 2 * step + (tag.accuracy ?? 0));
  const before = shape.seats;
  shape.seats = new Map();
  const taken = new Set();
  const sit = (tag, seat) => {
    taken.add(seat);
    shape.seats.set(tag.id, seat);
  };
  const staying = guests.filter((tag) => stays(tag, before.get(tag.id)));
  for (const tag of staying) sit(tag, before.get(tag.id));
  for (const tag of guests) {
    if (shape.seats.has(tag.id)) continue;
    let best = -1;
    for (let seat = 0; seat < places.length; seat += 1) {
      if (taken.has(seat)) continue;
      if (best < 0 || away(tag, seat) < away(tag, best)) best = seat;
      if (!hasPoint(tag)) break;
    }
    sit(tag, best);
  }
  return shape.seats;
}
