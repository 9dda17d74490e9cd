"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const hidden = new Set();
const SVG = "http://www.w3.org/2000/svg";
const W = 420, H = 230, LEFT = 52, RIGHT = 18, TOP = 10, BOTTOM = 24;

function make(name, attributes, parent, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6) return +(value / 1e6).toPrecision(3) + "M";
  if (size >= 1e4) return +(value / 1e3).toPrecision(3) + "k";
  if (size < 1e-3) return value.toExponential(1).replace("e-", "e-");
  return String(+value.toPrecision(size >= 1000 ? 4 : 3));
}

// Round steps of 1, 2 or 5 times a power of ten.
function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= raw);
  const found = [];
  for (let x = Math.ceil(low / step) * step; x <= high + step * 1e-9; x += step) found.push(Math.abs(x) < step * 1e-9 ? 0 : x);
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
    for (const m of [1, 2, 5]) if (m * 10 ** e >= low && m * 10 ** e <= high) found.push(m * 10 ** e);
  return found.length > 7 ? found.filter((x) => /^1/.test(x.toExponential())) : found;
}

// Exponential moving average that forgets its empty start.
function smoothed(points, weight) {
  let mean = 0, seen = 0;
  return points.map(([x, y]) => {
    mean = weight * mean + (1 - weight) * y;
    seen = weight * seen + (1 - weight);
    return [x, mean / seen];
  });
}

function settings() {
  return {
    column: document.getElementById("axis").value === "step" ? 0 : 1,
    weight: Number(document.getElementById("smooth").value),
    log: document.getElementById("log").checked,
  };
}

// The middle 99 percent of values decides the range, so that one spike does not flatten a curve.
function bounds(values, log) {
  const sorted = values.filter((v) => !log || v > 0).sort((a, b) => a - b);
  if (!sorted.length) return [0, 1];
  const cut = sorted.length > 60 ? Math.floor(sorted.length * 0.005) : 0;
  let low = sorted[cut], high = sorted[sorted.length - 1 - cut];
  if (low === high) { low -= Math.abs(low) * 0.1 || 0.5; high += Math.abs(high) * 0.1 || 0.5; }
  if (log) return [Math.max(low, 1e-12) / 1.1, high * 1.1];
  const pad = (high - low) * 0.06;
  return [low >= 0 && low - pad < 0 ? 0 : low - pad, high + pad];
}

function draw(card, chart) {
  const { column, weight, log } = settings();
  const curves = chart.curves.filter((c) => !hidden.has(c.run)).map((c) => {
    const raw = c.points.map((p) => [p[column], p[2]]);
    const smooth = chart.kind === "train" && weight > 0 && raw.length > 4;
    return { run: data.runs[c.run], raw, line: smooth ? smoothed(raw, weight) : raw, smooth };
  });
  card.querySelectorAll("svg, .tip").forEach((node) => node.remove());
  const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": chart.title }, card);
  const xs = curves.flatMap((c) => c.raw.map((p) => p[0])), ys = curves.flatMap((c) => c.raw.map((p) => p[1]));
  if (!xs.length) return;
  const [low, high] = bounds(ys, log);
  const [first, last] = [Math.min(...xs), Math.max(Math.max(...xs), Math.min(...xs) + 1e-9)];
  const px = (x) => LEFT + ((x - first) / (last - first)) * (W - LEFT - RIGHT);
  const scale = (y) => (log ? Math.log(Math.max(y, low)) : y);
  const py = (y) => {
    const share = (scale(y) - scale(low)) / (scale(high) - scale(low));
    return H - BOTTOM - Math.min(1.02, Math.max(-0.02, share)) * (H - TOP - BOTTOM);
  };
  for (const y of log ? logTicks(low, high) : ticks(low, high, 4)) {
    make("line", { class: "rule", x1: LEFT, x2: W - RIGHT, y1: py(y), y2: py(y) }, svg);
    make("text", { x: LEFT - 6, y: py(y) + 4, "text-anchor": "end" }, svg, short(y));
  }
  for (const x of ticks(first, last, 4)) make("text", { x: px(x), y: H - 6, "text-anchor": "middle" }, svg, short(x));
  for (const curve of curves) {
    const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
    if (curve.smooth) make("path", { class: "raw", d: path(curve.raw), stroke: curve.run.colour }, svg);
    make("path", { d: path(curve.line), stroke: curve.run.colour }, svg);
    if (curve.line.length < 12)
      for (const [x, y] of curve.line) make("circle", { cx: px(x), cy: py(y), r: 2.6, fill: curve.run.colour }, svg);
  }
  hover(card, svg, curves, { px, py, first, last, column });
}

function hover(card, svg, curves, { px, py, first, last, column }) {
  const cursor = make("line", { class: "cursor", y1: TOP, y2: H - BOTTOM, visibility: "hidden" }, svg);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  card.appendChild(tip);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * W;
    const x = first + ((at - LEFT) / (W - LEFT - RIGHT)) * (last - first);
    if (x < first || x > last) return leave();
    const nearest = curves.map((c) => ({ c, p: c.line.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a)) }));
    const shown = nearest[0].p[0];
    cursor.setAttribute("x1", px(shown));
    cursor.setAttribute("x2", px(shown));
    cursor.setAttribute("visibility", "visible");
    tip.replaceChildren();
    const head = document.createElement("div");
    head.textContent = column ? `${shown.toFixed(3)} h` : `step ${shown}`;
    tip.appendChild(head);
    for (const { c, p } of nearest) {
      const row = document.createElement("div"), chip = document.createElement("span");
      chip.className = "chip";
      chip.style.setProperty("--c", c.run.colour);
      row.append(chip, `${c.run.name}  ${p[1].toPrecision(4)}`);
      tip.appendChild(row);
    }
    tip.hidden = false;
    const right = at > W / 2;
    tip.style.left = right ? "auto" : `${event.clientX - card.getBoundingClientRect().left + 14}px`;
    tip.style.right = right ? `${card.getBoundingClientRect().right - event.clientX + 14}px` : "auto";
    tip.style.top = "34px";
  });
  function leave() {
    cursor.setAttribute("visibility", "hidden");
    tip.hidden = true;
  }
  svg.addEventListener("pointerleave", leave);
}

const cards = data.charts.map((chart) => {
  const card = document.createElement("div");
  card.className = "chart";
  const title = document.createElement("h4");
  title.textContent = chart.title;
  card.appendChild(title);
  document.getElementById("charts").appendChild(card);
  return [card, chart];
});
const redraw = () => cards.forEach(([card, chart]) => draw(card, chart));
for (const id of ["axis", "smooth", "log"]) document.getElementById(id).addEventListener("input", redraw);
document.querySelectorAll("[data-run]").forEach((box) =>
  box.addEventListener("change", () => {
    const run = Number(box.dataset.run);
    if (box.checked) hidden.delete(run); else hidden.add(run);
    redraw();
  }));
redraw();
