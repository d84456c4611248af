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

/**
 * Give tags without coordinates a spot in their zone, and keep it while they stay.
 *
 * @param tags The tags on the site.
 * @param shapeFor Returns the shape in which a tag wants a spot, or null.
 * @param masts Gateways by id; spots keep clear of them.
 * @param k Metres per pixel.
 * @returns {Map<string, {spot: number[], size: number}>} Spot and size of the mark, 0 to 1, by tag id.
 */
export function seated(tags, shapeFor, masts, k) {
  const wanting = new Map();
  for (const tag of tags) {
    const shape = shapeFor(tag);
    if (shape) wanting.set(shape, [...(wanting.get(shape) ?? []), tag.id]);
  }
  const avoid = [...masts.values()].map((mast) => mast.spot);
  const spots = new Map();
  for (const [shape, ids] of wanting) {
    const room = Math.max(16, 2 ** Math.ceil(Math.log2(ids.length)));
    const { places, step } = placesIn(shape, room, k, avoid);
    const seats = seatsOf(shape, ids, room);
    for (const [id, seat] of seats) {
      const spot = places[seat % Math.max(places.length, 1)] ?? middle(shape.outline);
      spots.set(id, { spot, size: Math.min(1, step / (1.1 * DOT_PX * k)) });
    }
  }
  return spots;
}

/** Return the places in a shape; they change only with its crowd, the zoom, or the gateways. */
function placesIn(shape, room, k, avoid) {
  const key = `${room} ${k} ${avoid}`;
  if (shape.key !== key) {
    shape.key = key;
    shape.places = slots(shape.outline, room, 1.35 * DOT_PX * k, 1.5 * LABEL_PX * k, avoid);
  }
  return shape.places;
}

/** Return which seat each tag has: the one it had, else the first free one. */
function seatsOf(shape, ids, room) {
  const before = shape.seats ?? new Map();
  const seats = new Map(ids.filter((id) => before.get(id) < room).map((id) => [id, before.get(id)]));
  const taken = new Set(seats.values());
  let free = 0;
  for (const id of ids) {
    if (seats.has(id)) continue;
    while (taken.has(free)) free += 1;
    taken.add(free);
    seats.set(id, free);
  }
  shape.seats = seats;
  return seats;
}
