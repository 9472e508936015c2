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
  // What a profile is compared with: the candidates of the board, or all rows where there is no other.
  const candidates = board.rows.filter(one => !ETAB.isReference(one));
  const isAlone = !candidates.some(one => one !== row);
  const compared = isAlone ? board.rows : candidates;
  const who = isAlone ? "all rows" : "the encoders";
  const median = code => d3.median(compared.filter(one => one.cells[code]), one => ETAB.anchored(board.tasks.find(task => task.code === code), one.cells[code][0]));
  const profile = tasks.map(task => {
    const middle = median(task.code);
    const [value, low, high, outerLow, outerHigh] = row.cells[task.code].slice(0, 5).map(v => v == null ? null : ETAB.anchored(task, v) - middle);
    const ordered = (a, b) => a == null ? [null, null] : a < b ? [a, b] : [b, a];
    const inner = ordered(low, high);
    const outer = ordered(outerLow, outerHigh);
    return { name: `${task.code} ${task.title}`, value, low: inner[0], high: inner[1], outerLow: outer[0], outerHigh: outer[1] };
  }).sort((a, b) => b.value - a.value);
  const draw = () => ETAB.charts.intervals(holder, profile, {
    label: `Anchored value minus the median of ${who}`, axis: `anchored value minus the median of ${who}`, include: [0],
    lines: [[`median of ${who}`, 0, "twin"]],
    caption: `Strengths on top, weaknesses at the bottom: how far each anchored value is from the median of ${who} on this board.`,
  });
  if (profile.length) draw();
  ETAB.showPredictions(row.backbone);
  // A picture that gets its address anew starts its animation anew.
  for (const button of document.querySelectorAll(".again")) button.onclick = () => {
    const picture = button.closest("figure").querySelector("img");
    const address = picture.src;
    picture.src = "";
    picture.src = address;
  };
  addEventListener("resize", draw);
  // Clips are drawn when a reader comes to them. On paper nobody comes: they are read beforehand, and
  // drawn before the page is printed.
  const waiting = [...document.querySelectorAll("img[loading=lazy]")];
  let read = [];
  addEventListener("load", () => { read = waiting.map(({ src }) => Object.assign(new Image(), { src })); });
  addEventListener("beforeprint", () => {
    for (const [k, picture] of waiting.entries()) {
      picture.loading = "eager";
      if (read[k]?.complete && !picture.complete) picture.src = read[k].src;
    }
  });
  for (const line of document.querySelectorAll("#cells tr")) {
    const cell = details.cells[line.dataset.task];
    const task = board.tasks.find(one => one.code === line.dataset.task);
    const other = Object.entries(cell.metrics ?? {}).map(([name, value]) => `${ETAB.withUnit(board.metric_titles[name] ?? name, task, name)}: ${ETAB.number(value)}`);
    const list = texts => el("td", {}, el("ul", { class: "lines" }, ...texts.map(text => el("li", {}, el("bdi", {}, text)))));
    const choices = ETAB.short(details.words[cell.depends_on], 400).split("; ");
    line.append(el("td", {}, el("bdi", {}, ETAB.short(details.words[cell.head]))), list(choices), list(other));
  }
  ETAB.labelled(document.getElementById("cells").parentElement);
});
