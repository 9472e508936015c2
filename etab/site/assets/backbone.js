// The page of one backbone: its profile over the tasks, and the details of each cell.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const ETAB = window.ETAB;
  const el = ETAB.el;
  const board = ETAB.data.board;
  const file = document.querySelector("h1").dataset.file;
  const row = board.rows.find(one => one.file === file);
  const details = ETAB.data[`backbone/${file}`];
  const holder = document.getElementById("profile");
  const tasks = board.tasks.filter(task => row.cells[task.code]);
  const median = code => d3.median(board.rows.filter(one => one.kind === "pretrained" && one.cells[code]), one => ETAB.anchored(board.tasks.find(task => task.code === code), one.cells[code][0]));
  const profile = tasks.map(task => {
    const middle = median(task.code) ?? 0;
    const [value, low, high, outerLow, outerHigh] = row.cells[task.code].slice(0, 5).map(v => v == null ? null : ETAB.anchored(task, v) - middle);
    const ordered = (a, b) => a == null ? [null, null] : a < b ? [a, b] : [b, a];
    const inner = ordered(low, high);
    const outer = ordered(outerLow, outerHigh);
    return { name: `${task.code} ${task.title}`, value, low: inner[0], high: inner[1], outerLow: outer[0], outerHigh: outer[1] };
  }).sort((a, b) => b.value - a.value);
  const draw = () => ETAB.charts.intervals(holder, profile, {
    label: "Anchored value minus the median of the pretrained backbones", axis: "anchored value minus the median of the pretrained backbones", include: [0],
    lines: [["median of the pretrained backbones", 0, "twin"]],
    caption: "Strengths on top, weaknesses at the bottom: how far each anchored value is from the median of the pretrained backbones of this board.",
  });
  if (profile.length) draw();
  addEventListener("resize", draw);
  for (const line of document.querySelectorAll("#cells tr")) {
    const cell = details.cells[line.dataset.task];
    const metric = board.tasks.find(task => task.code === line.dataset.task).metric;
    const other = Object.entries(cell.metrics ?? {}).filter(([name]) => name !== metric).map(([name, value]) => `${name} ${ETAB.number(value)}`).join(", ");
    const texts = [ETAB.short(cell.head), ETAB.short(cell.depends_on, 400), other];
    texts.forEach((text, i) => { line.children[6 + i].replaceChildren(el("bdi", {}, text)); });
  }
});
