// The floor plan: an SVG in metres (y is turned: north is up). Labels and dots keep their size on
// the screen through the factor --k, metres per pixel.
import { ago } from "./ages.js";
import { s } from "./dom.js";
import { bounds, nextMark, stretch } from "./geometry.js";
import { healthWords } from "./gateways.js";
import { shapeOf } from "./legend.js";
import { causeWords } from "./reasons.js";
import { LABEL_PX, NOWHERE, frameOf, hasPoint, isZonal, path, seated, shapesOf } from "./shapes.js";
import { percent, t, tn } from "./texts.js";

const LARGEST_ZOOM = 12;

export class Plan {
  /** @param {HTMLElement} host @param {import("./model.js").Model} model */
  constructor(host, model, { onTag, onHint }) {
    this.host = host;
    this.model = model;
    this.onTag = onTag;
    this.onHint = onHint;
    this.dots = new Map();
    this.hints = new WeakMap();
    this.fits = () => true;
    this.selected = null;
    this.layers = Object.fromEntries(
      ["site", "zones", "gateways", "accuracy", "tags"].map((name) => [name, s("g", { class: `layer-${name}` })]),
    );
    this.svg = s("svg", { role: "group", "aria-label": t("plan.title") }, Object.values(this.layers));
    host.append(this.svg);
    this.#listen(host);
    new ResizeObserver(() => this.#resized()).observe(host);
  }

  /** Draw the site anew: its outline, zones and gateways. */
  drawSite() {
    this.drawn = this.#description();
    this.shapes = shapesOf(this.model);
    this.frame = frameOf(this.model, this.shapes);
    this.host.style.aspectRatio = `${this.frame.width} / ${this.frame.height}`;
    this.view = null;
    for (const layer of Object.values(this.layers)) layer.replaceChildren();
    this.dots.clear();
    this.masts = new Map();
    const outline = this.model.site?.outline;
    if (outline) this.layers.site.append(s("polygon", { class: "outline", points: path(outline) }));
    this.labels = new Map();
    for (const shape of this.shapes.values()) this.layers.zones.append(this.#zone(shape));
    this.drawGateways();
    this.fit();
    this.drawTags();
  }

  /** Draw the site anew if it is described otherwise than it is drawn; keeps the zoom if it is not. */
  renewSite() {
    if (!this.model.site) return;
    if (this.drawn === this.#description()) this.drawGateways();
    else this.drawSite();
  }

  #description() {
    const gateways = [...this.model.gateways.values()].map(({ id, x, y }) => [id, x, y]);
    return JSON.stringify([this.model.site, [...this.model.zones.values()], gateways]);
  }

  /** Draw the gateways; one that is drawn already only takes its new state, so a focus on it stays. */
  drawGateways() {
    const placed = [...this.model.gateways.values()].filter((g) => g.x !== null && g.y !== null);
    const before = this.masts ?? new Map();
    this.masts = new Map(placed.map((g) => [g.id, before.get(g.id) ?? this.#gateway(g)]));
    for (const gateway of placed) {
      const mast = this.masts.get(gateway.id);
      mast.gateway = gateway;
      mast.spot = [gateway.x, gateway.y];
      mast.group.dataset.health = gateway.health;
      mast.group.style.transform = `translate(${gateway.x}px, ${-gateway.y}px)`;
      mast.group.setAttribute("aria-label", mast.words().join(", "));
    }
    for (const [id, mast] of before) if (!this.masts.has(id)) mast.group.remove();
    for (const mast of this.masts.values()) if (!mast.group.parentNode) this.layers.gateways.append(mast.group);
  }

  /** Put every dot where its tag is; dots that moved glide there. */
  drawTags() {
    if (!this.shapes) return;
    const here = this.model.tagsHere();
    const ids = new Set(here.map((tag) => tag.id));
    for (const [id, dot] of this.dots) {
      if (ids.has(id)) continue;
      dot.group.remove();
      this.dots.delete(id);
    }
    this.spots = seated(here.filter(isZonal), (tag) => this.#shapeFor(tag), this.masts, this.k);
    for (const tag of here) this.#place(tag);
    this.#counts(here);
    this.#rove();
    if (this.selected) this.#accuracy();
    this.svg.setAttribute("aria-label", tn("plan.label", here.length, { site: this.model.site?.name ?? "" }));
  }

  /** Dim the tags that do not fit. */
  filter(fits) {
    this.fits = fits;
    this.drawTags();
  }

  select(id) {
    this.selected = id;
    for (const dot of this.dots.values()) dot.group.classList.toggle("selected", dot.tag.id === id);
    if (id && this.dots.has(id)) this.layers.tags.append(this.dots.get(id).group);
    this.#accuracy();
  }

  fit() {
    this.view = null;
    this.#resized();
  }

  /** Zoom by a factor around a point of the plan, in metres; around the middle by default. */
  zoom(factor, around = null) {
    const view = this.view;
    if (!view) return;
    const widest = this.#fitted();
    const width = Math.min(Math.max(view.width / factor, widest.width / LARGEST_ZOOM), widest.width);
    const ratio = width / view.width;
    const [x, y] = around ?? [view.x + view.width / 2, view.y + view.height / 2];
    this.#show({
      x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio, width, height: view.height * ratio,
    });
  }

  #fitted() {
    const { clientWidth: wide = 1, clientHeight: high = 1 } = this.svg;
    const box = this.frame;
    const width = Math.max(box.width, (box.height * wide) / Math.max(high, 1));
    const height = (width * high) / Math.max(wide, 1);
    return { x: box.x - (width - box.width) / 2, y: box.y - (height - box.height) / 2, width, height };
  }

  #resized() {
    if (!this.frame || this.svg.clientWidth === 0) return;
    const zoomed = this.view && this.view.width < this.#fitted().width * 0.99;
    if (!zoomed) return this.#show(this.#fitted());
    const height = (this.view.width * this.svg.clientHeight) / this.svg.clientWidth;
    this.#show({ ...this.view, height });
  }

  #show(view) {
    const whole = this.#fitted();
    const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
    view.x = clamp(view.x, whole.x, whole.x + whole.width - view.width);
    view.y = clamp(view.y, whole.y, whole.y + whole.height - view.height);
    this.view = view;
    this.k = view.width / this.svg.clientWidth;
    this.svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
    this.svg.style.setProperty("--k", this.k);
    this.svg.classList.toggle("zoomed", view.width < whole.width * 0.99);
    for (const shape of this.shapes.values()) this.#label(shape);
    this.#still(() => this.drawTags());
  }

  /** Do something without gliding: a zoom is not a movement of goods. */
  #still(work) {
    this.svg.classList.add("still");
    work();
    requestAnimationFrame(() => requestAnimationFrame(() => this.svg.classList.remove("still")));
  }

  #zone(shape) {
    const name = s("tspan", { class: "name" });
    const count = s("tspan", { class: "count", dx: "0.5em" });
    const text = s("text", {}, name, count);
    const label = s("g", { class: "label" }, text);
    this.labels.set(shape.id, { label, text, name, count, shape });
    return s("g", { class: `zone kind-${shape.kind}`, data: { zone: shape.id } },
      s("polygon", { points: path(shape.outline), class: shape.drawn ? "area" : "area undrawn" }), label);
  }

  /** Write a zone's label in the first row where it fits; shorten it where none is wide enough. */
  #label(shape) {
    const { label, text, name } = this.labels.get(shape.id);
    const top = bounds(shape.outline).top;
    const rows = [0.9, 1.9, 2.9, 4]
      .map((row) => ({ y: top - row * LABEL_PX * this.k, within: stretch(shape.outline, top - row * LABEL_PX * this.k) }))
      .filter((row) => row.within && row.within[1] - row.within[0] > 24 * this.k);
    label.style.display = rows.length ? "" : "none";
    if (!rows.length) return;
    name.textContent = shape.name;
    const wide = (text.getComputedTextLength() + 4) * this.k;
    const free = rows.map((row) => ({ ...row, x: this.#clear(row, wide) })).find((row) => row.x !== null);
    const best = free ?? rows.reduce((a, b) => (b.within[1] - b.within[0] > (a.within[1] - a.within[0]) * 1.3 ? b : a));
    const room = (best.within[1] - best.within[0]) / this.k - 14;
    for (let length = shape.name.length; length > 2 && text.getComputedTextLength() > room; length -= 1) {
      name.textContent = `${shape.name.slice(0, length - 2).trimEnd()}…`;
    }
    label.style.transform = `translate(${best.x ?? best.within[0] + 7 * this.k}px, ${-best.y}px)`;
  }

  /** Return where a label begins in a row, clear of gateways; null if it does not fit. */
  #clear({ y, within: [from, to] }, wide) {
    const reach = 14 * this.k;
    let x = from + 7 * this.k;
    for (const { spot: [mx, my] } of [...this.masts.values()].sort((a, b) => a.spot[0] - b.spot[0])) {
      if (Math.abs(my - y) < 1.4 * reach && mx + reach > x && mx - reach < x + wide) x = mx + reach;
    }
    return x + wide < to ? x : null;
  }

  #gateway(gateway) {
    const group = s("g", { class: "gateway", role: "img", tabindex: -1 },
      s("g", { class: "body" },
        s("circle", { class: "target", r: 12 }),
        s("circle", { class: "halo", r: 12 }),
        s("path", { class: "mast", d: "M0 8V1M-4 8h8" }),
        s("circle", { class: "lamp", r: 3, cy: -1 }),
        s("path", { class: "waves", d: "M-5.5 3.5a6.5 6.5 0 0 1 0-9M5.5 3.5a6.5 6.5 0 0 0 0-9" }),
        s("path", { class: "cross", d: "M-7-8L7 8" })));
    const mast = { group, gateway, spot: [0, 0], words: () => this.#state(mast.gateway) };
    this.#hinted(group, mast.words);
    return mast;
  }

  #state(gateway) {
    const heard = gateway.heardAt === null ? "" : ` · ${ago(gateway.heardAt)}`;
    return [gateway.name, `${t("gateway.kind")}: ${healthWords(gateway)}${heard}`];
  }

  #shapeFor(tag) {
    return this.shapes.get(tag.zoneId) ?? this.shapes.get(NOWHERE) ?? null;
  }

  #place(tag) {
    const given = isZonal(tag) ? this.spots.get(tag.id) : { spot: [tag.x, tag.y], size: 1 };
    if (!given) return;
    const dot = this.dots.get(tag.id) ?? this.#dot(tag);
    dot.tag = tag;
    dot.spot = given.spot;
    const key = [
      ...given.spot, given.size, this.model.gradeOf(tag), tag.silence?.cause, tag.method, tag.confidence, this.fits(tag),
      this.model.nameOf(tag), this.model.zoneName(tag.zoneId),
    ].join();
    if (dot.key === key) return;
    dot.key = key;
    dot.group.style.transform = `translate(${given.spot[0]}px, ${-given.spot[1]}px)`;
    dot.body.style.setProperty("--size", given.size.toFixed(2));
    dot.group.dataset.state = this.model.stateOf(tag);
    dot.shape.setAttribute("d", shapeOf(tag.method, !isZonal(tag)));
    dot.group.classList.toggle("dim", !this.fits(tag));
    dot.group.setAttribute("aria-label", this.#words(tag).join(", "));
  }

  #dot(tag) {
    const shape = s("path", { class: "shape" });
    const body = s("g", { class: "body" }, s("circle", { class: "target", r: 12 }), s("circle", { class: "halo", r: 12 }), shape,
      s("path", { class: "mark", d: "M-3-3L3 3M3-3L-3 3" }));
    const group = s("g", { class: "tag", role: "button", tabindex: -1, data: { tag: tag.id } }, body);
    const dot = { group, body, shape, tag, spot: [0, 0] };
    this.#hinted(group, () => this.#words(dot.tag));
    group.addEventListener("focus", () => {
      group.setAttribute("aria-label", this.#words(dot.tag).join(", "));
      this.#accuracy();
    });
    group.addEventListener("blur", () => this.#accuracy());
    this.dots.set(tag.id, dot);
    this.#still(() => this.layers.tags.append(group));
    return dot;
  }

  #words(tag) {
    const zone = tag.zoneId ? this.model.zoneName(tag.zoneId) : t("zone.none");
    const sure = tag.confidence === null ? "" : `, ${t("confidence.short", { share: percent(tag.confidence) })}`;
    const cause = causeWords(tag.silence?.cause);
    return [this.model.nameOf(tag), `${zone}${sure}`, `${t(`state.${this.model.gradeOf(tag)}`)} · ${ago(tag.heardAt)}`, ...(cause ? [cause] : [])];
  }

  #counts(here) {
    const counts = new Map();
    for (const tag of here) {
      const id = this.#shapeFor(tag)?.id;
      const entry = counts.get(id) ?? { all: 0, fit: 0 };
      entry.all += 1;
      if (this.fits(tag)) entry.fit += 1;
      counts.set(id, entry);
    }
    for (const [id, { count }] of this.labels) {
      const { all, fit } = counts.get(id) ?? { all: 0, fit: 0 };
      const words = fit === all ? String(all) : t("plan.some", { some: fit, all });
      if (count.textContent !== words) count.textContent = words;
    }
  }

  /** Draw the circle of accuracy of the focused or chosen tag. */
  #accuracy() {
    const active = this.dots.get(document.activeElement?.dataset?.tag) ?? this.dots.get(this.selected);
    const layer = this.layers.accuracy;
    const radius = active?.tag.radius95 ?? active?.tag.accuracy;
    if (!radius || !hasPoint(active.tag)) return layer.replaceChildren();
    const circle = layer.firstChild ?? layer.appendChild(s("circle", { class: "accuracy" }));
    circle.setAttribute("r", radius);
    circle.style.transform = `translate(${active.tag.x}px, ${-active.tag.y}px)`;
  }

  /** One mark is the plan's single tab stop; the arrow keys go on from there. */
  #rove() {
    const stops = this.#stops();
    if (!stops.some((stop) => stop.group === this.current)) {
      this.current = (this.dots.get(this.selected) ?? stops[0])?.group;
    }
    for (const { group } of stops) group.setAttribute("tabindex", group === this.current ? 0 : -1);
  }

  #stops() {
    return [...this.dots.values(), ...this.masts.values()];
  }

  #hinted(element, words) {
    const show = () => this.onHint(element, words);
    this.hints.set(element, words);
    element.addEventListener("pointerenter", show);
    element.addEventListener("focus", () => {
      this.current = element;
      this.#rove();
      show();
    });
    element.addEventListener("blur", () => this.onHint(element, null));
    element.addEventListener("pointerleave", () => {
      if (element === document.activeElement) return;
      this.onHint(element, null);
      const words = this.hints.get(document.activeElement);
      if (words) this.onHint(document.activeElement, words);
    });
  }

  #listen(host) {
    this.svg.addEventListener("click", (event) => {
      const id = event.target.closest(".tag")?.dataset.tag;
      if (id && !this.dragged) this.onTag(id);
    });
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    host.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 150), this.#point(event));
    }, { passive: false });
    this.pointers = new Map();
    this.svg.addEventListener("pointerdown", (event) => {
      this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
      this.dragged = false;
    });
    this.svg.addEventListener("pointermove", (event) => this.#drag(event));
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
      this.svg.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
  }

  #point(event) {
    const box = this.svg.getBoundingClientRect();
    return [this.view.x + (event.clientX - box.left) * this.k, this.view.y + (event.clientY - box.top) * this.k];
  }

  #drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
    if (!this.dragged && Math.hypot(dx, dy) < 4) return;
    this.dragged = true;
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (others.length) {
      const [, other] = others[0];
      const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
      const is = Math.hypot(event.clientX - other[0], event.clientY - other[1]);
      this.zoom(is / Math.max(was, 1), this.#point(event));
    } else if (this.svg.classList.contains("zoomed")) {
      this.#show({ ...this.view, x: this.view.x - dx * this.k, y: this.view.y - dy * this.k });
    }
  }

  #key(event) {
    const turns = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const id = event.target.closest(".tag")?.dataset.tag;
    const from = this.#stops().find((stop) => stop.group === event.target);
    if (turns[event.key] && from) nextMark(this.#stops(), from, turns[event.key]).group.focus();
    else if ((event.key === "Enter" || event.key === " ") && id) this.onTag(id);
    else if (event.key === "+") this.zoom(1.5);
    else if (event.key === "-") this.zoom(1 / 1.5);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }
}
