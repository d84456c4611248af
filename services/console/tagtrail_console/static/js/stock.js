// Stock by zone. A quantity is "verified" when somebody counted it where it is, else "inferred" from
// what was packed on the asset that carries the tag.
import { byId, h } from "./dom.js";
import { fold } from "./model.js";
import { compare, number, t } from "./texts.js";

export function drawStock(model, query) {
  if (!model.known.stock) return;
  const zones = grouped(model, query);
  const table = byId("stock");
  table.hidden = zones.length === 0;
  byId("stock-empty").hidden = zones.length > 0;
  byId("stock-empty").textContent = model.stock.length ? t("search.nothing") : t("stock.empty");
  table.querySelectorAll("tbody").forEach((body) => body.remove());
  for (const zone of zones) {
    table.append(h("tbody", {},
      h("tr", { class: "zone" }, h("th", { colspan: 3, scope: "rowgroup" }, zone.name)),
      zone.lines.map(row)));
  }
}

function row(line) {
  const unit = line.unit === "EA" ? "" : ` ${line.unit}`;
  return h("tr", {},
    h("th", { scope: "row" }, h("span", { class: "code" }, line.sku), line.name ? h("span", { class: "quiet" }, line.name) : null),
    h("td", { class: "number" }, number(line.quantity) + unit),
    h("td", {}, basis(line)));
}

/** Return how a quantity is known. */
export function basis({ quantity, verified }) {
  const kind = verified >= quantity ? "verified" : verified > 0 ? "partly" : "inferred";
  const words = t(`basis.${kind}`, { verified: number(verified), quantity: number(quantity) });
  return h("span", { class: `basis ${kind}`, title: t(`basis.${kind}.hint`) }, words);
}

/** Return where a line of stock is: in a zone here, under way, or nobody knows. */
function placeOf(model, line) {
  if (line.custody !== "here") return t(`custody.${line.custody}`);
  return line.zoneId === null ? t("zone.unknown") : line.zoneName ?? model.zoneName(line.zoneId);
}

/** Return the zones that hold something that fits, in the plan's order, with summed lines. */
function grouped(model, query) {
  const wanted = fold(query);
  const byZone = new Map();
  for (const line of model.stock) {
    const name = placeOf(model, line);
    const words = fold(`${line.sku} ${line.name} ${name}`);
    const carriers = line.assets.map((id) => model.assets.get(id)?.name ?? id);
    if (wanted && !words.includes(wanted) && !fold(carriers.join(" ")).includes(wanted)) continue;
    const zone = byZone.get(name) ?? { name, lines: new Map() };
    const sum = zone.lines.get(line.sku) ?? { ...line, quantity: 0, verified: 0 };
    sum.quantity += line.quantity;
    sum.verified += line.verified;
    zone.lines.set(line.sku, sum);
    byZone.set(name, zone);
  }
  return [...byZone.values()]
    .sort((a, b) => compare(a.name, b.name))
    .map((zone) => ({ name: zone.name, lines: [...zone.lines.values()].sort((a, b) => compare(a.sku, b.sku)) }));
}
