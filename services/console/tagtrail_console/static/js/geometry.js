// Polygons in metres: where a label fits, and where dots of a zone may stand.

export function bounds(points) {
  const xs = points.map((p) => p[0]);
  const ys = points.map((p) => p[1]);
  return { left: Math.min(...xs), bottom: Math.min(...ys), right: Math.max(...xs), top: Math.max(...ys) };
}

export function area(points) {
  let twice = 0;
  points.forEach(([x, y], i) => {
    const [nx, ny] = points[(i + 1) % points.length];
    twice += x * ny - nx * y;
  });
  return Math.abs(twice) / 2;
}

export function contains(points, x, y) {
  let inside = false;
  for (let i = 0, j = points.length - 1; i < points.length; j = i, i += 1) {
    const [ax, ay] = points[i];
    const [bx, by] = points[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

/** Return the widest stretch inside the polygon at a height, as [from, to], or null. */
export function stretch(points, y) {
  const cuts = [];
  points.forEach(([ax, ay], i) => {
    const [bx, by] = points[(i + 1) % points.length];
    if (ay > y !== by > y) cuts.push(((bx - ax) * (y - ay)) / (by - ay) + ax);
  });
  cuts.sort((a, b) => a - b);
  let best = null;
  for (let i = 0; i + 1 < cuts.length; i += 2) {
    if (best === null || cuts[i + 1] - cuts[i] > best[1] - best[0]) best = [cuts[i], cuts[i + 1]];
  }
  return best;
}

/**
 * Return places for `count` dots inside a polygon, the middle ones first, clear of the edge, of the
 * label at the top and of the points to avoid. They say "somewhere in this zone", nothing finer.
 */
export function slots(points, count, widest, clear_top, avoid) {
  const box = bounds(points);
  const smallest = Math.sqrt(area(points) / Math.max(count, 1)) / 6;
  const top = box.top - Math.min(clear_top, (box.top - box.bottom) / 3);
  const middle = [(box.left + box.right) / 2, (box.bottom + top) / 2];
  for (let step = widest; ; step *= 0.85) {
    const found = grid(points, { ...box, top }, middle, step, avoid);
    if (found.length < count && step >= smallest) continue;
    const far = ([x, y]) => Math.hypot((x - middle[0]) / (box.right - box.left), (y - middle[1]) / (top - box.bottom));
    return { places: found.sort((a, b) => far(a) - far(b)), step };
  }
}

function grid(points, box, [mx, my], step, avoid) {
  const found = [];
  const edge = step * 0.45;
  const free = (x, y) => avoid.every(([ax, ay]) => Math.hypot(ax - x, ay - y) > step * 1.1)
    && [[-edge, 0], [edge, 0], [0, -edge], [0, edge]].every(([dx, dy]) => contains(points, x + dx, y + dy));
  const first = (from, to) => to - Math.floor((to - from) / step) * step;
  for (let y = first(box.bottom, my); y < box.top - edge; y += step) {
    for (let x = first(box.left, mx); x < box.right; x += step) {
      if (free(x, y)) found.push([x, y]);
    }
  }
  return found;
}

/** Return the nearest mark in a direction; sideways distance counts double. Marks have a `spot`. */
export function nextMark(marks, from, [dx, dy]) {
  let best = from;
  let least = Infinity;
  for (const mark of marks) {
    const [x, y] = [mark.spot[0] - from.spot[0], mark.spot[1] - from.spot[1]];
    const along = x * dx + y * dy;
    const aside = Math.abs(x * dy) + Math.abs(y * dx);
    if (along > 0.01 && along + 2 * aside < least) [best, least] = [mark, along + 2 * aside];
  }
  return best;
}
