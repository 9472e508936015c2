// The pictures of the board, one at a time.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const ETAB = window.ETAB;
  const el = ETAB.el;
  const board = ETAB.data.board;
  const holder = document.getElementById("picture");
  const isQuiet = ETAB.isReference;
  const byPlace = rows => rows.filter(row => row.now.place != null).sort((a, b) => a.now.place - b.now.place);

  const withPairs = draw => rows => {
    const ranking = ETAB.ranking();
    if (ranking) { const part = ETAB.someOf(ranking, new Set(rows.map(row => row.backbone))); draw(part, part.order); }
  };
  const best = kind => d3.max(board.rows.filter(row => row.kind === kind && row.now.etab != null), row => row.now.etab);
  const lines = () => [["best control", best("control"), "control"], ["best random twin", best("random twin"), "twin"]].filter(line => Number.isFinite(line[1]));

  const PICTURES = {
    scores: ["Scores", rows => ETAB.charts.intervals(holder, byPlace(rows).map(row => ({ name: row.backbone, value: row.now.etab, low: row.now.low, high: row.now.high, outerLow: row.now.encoder_low, outerHigh: row.now.encoder_high, quiet: isQuiet(row) })), { label: "ETAB with intervals", axis: "ETAB", lines: lines(), caption: "Thick: 95 % interval of these probes on new patients. Thin: of this encoder, with new training patients too. Dotted line: best control; dashed line: best random twin." })],
    ranks: ["Rank intervals", rows => { const shown = byPlace(rows); ETAB.charts.ranks(holder, shown.map(row => ({ name: row.backbone, low: row.now.rank_low, high: row.now.rank_high, quiet: isQuiet(row) })), board.rows.filter(row => row.now.place != null).length); }],
    wins: ["Win matrix", withPairs((ranking, names) => ETAB.charts.wins(holder, ranking, names))],
    difference: ["Critical difference", withPairs((ranking, names) => ETAB.charts.difference(holder, ranking, names))],
    size: ["Score against cost", rows => drawCost(rows)],
  };

  // Score against what a backbone costs: the front is of the best scores at each cost or less.
  const machine = board.rows.find(row => row.card.machine)?.card.machine;
  const COSTS = {
    params: { name: "Parameters", axis: "parameters", words: value => `${ETAB.params(value)} parameters` },
    gmacs: { name: "Multiply-adds", axis: "GMACs: giga multiply-adds of one input", words: value => `${value} G multiply-adds`, note: " Multiply-adds are counted for one input of the size that each card states." },
    per_second: { name: "Throughput", axis: "inputs a second", words: value => `${value} inputs a second`, fast: true, note: ` Measured on: ${machine}.` },
  };
  let cost = "params";
  const drawCost = rows => {
    const chosen = COSTS[cost];
    const ranked = byPlace(rows);
    const points = ranked.filter(row => row.card[cost] > 0).map(row => ({ name: row.backbone, x: row.card[cost], y: row.now.etab, low: row.now.encoder_low, high: row.now.encoder_high, quiet: isQuiet(row) }));
    const left = ranked.length - points.length;
    ETAB.charts.size(holder, points, {
      label: `ETAB against ${chosen.axis}`, x: chosen.axis, words: chosen.words, fast: chosen.fast, format: cost === "params" ? "~s" : "~g",
      caption: `Vertical lines: 95 % of this encoder. Dashed: the front of the best score ${chosen.fast ? "at this speed or above" : "at this cost or below"}.${chosen.note ?? ""}${left ? ` Left out, because it is 0 or not known: ${left} of ${ranked.length} rows.` : ""}`,
    });
    const buttons = Object.entries(COSTS).filter(([key]) => board.rows.some(row => row.card[key] > 0)).map(([key, { name }]) => el("button", { type: "button", "aria-pressed": String(key === cost), onclick: () => { cost = key; draw(); holder.querySelector("[aria-pressed=true]").focus(); } }, name));
    if (buttons.length > 1) holder.prepend(el("div", { class: "controls", role: "group", "aria-label": "Cost" }, ...buttons));
  };

  // Label efficiency, for folders with results of few labelled patients: one task at a time.
  const curveTasks = [...new Set(board.curves.map(point => point.task))];
  let curveTask = curveTasks[0];
  const drawCurves = rows => {
    const visible = new Set(rows.map(row => row.backbone));
    const ofTask = board.curves.filter(point => point.task === curveTask && visible.has(point.backbone));
    const series = d3.groups(ofTask, point => point.backbone).map(([name, points]) => ({ name, points: points.map(p => ({ ...p, x: p.rows })).sort((a, b) => a.x - b.x) }));
    const select = el("select", { "aria-label": "Task" }, ...curveTasks.map(code => el("option", { value: code, selected: code === curveTask }, code)));
    select.onchange = () => { curveTask = select.value; draw(); };
    if (series.length) ETAB.charts.curves(holder, series, { label: `${curveTask}: label efficiency`, y: ofTask[0].metric, caption: "Value over the number of training rows, the mean over draws of the labelled patients; bands: 95 %, over draws and test patients." });
    else holder.replaceChildren(el("p", { class: "note" }, "No visible row has results with few labelled patients."));
    holder.prepend(el("div", { class: "controls" }, select));
  };
  if (curveTasks.length) PICTURES.curves = ["Label efficiency", drawCurves];

  const tabs = document.getElementById("picture-tabs");
  let current = "scores";
  const draw = () => {
    for (const tab of tabs.children) {
      const on = tab.dataset.picture === current;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
    }
    holder.setAttribute("aria-labelledby", `tab-${current}`);
    const rows = ETAB.visibleRows();
    if (!rows.some(row => row.now.place != null)) holder.replaceChildren(el("p", { class: "note" }, "No ranked row is visible."));
    else PICTURES[current][1](rows);
  };
  const choose = (key, focus) => {
    current = key;
    ETAB.setPicture(key === "scores" ? "" : key);
    draw();
    if (focus) document.getElementById(`tab-${key}`).focus();
  };
  const keys = Object.keys(PICTURES);
  tabs.replaceChildren(...keys.map(key => el("button", { type: "button", role: "tab", id: `tab-${key}`, "data-picture": key, "aria-controls": "picture", onclick: () => choose(key) }, PICTURES[key][0])));
  tabs.onkeydown = event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) choose(keys[(keys.indexOf(current) + step + keys.length) % keys.length], true);
  };
  // Pictures are drawn when they come into view, and after the change of view has settled.
  let timer = 0;
  let inView = false;
  const later = () => { clearTimeout(timer); if (inView) timer = setTimeout(draw, 120); };
  document.addEventListener("etab-view", later);
  addEventListener("resize", later);
  addEventListener("load", () => {
    if (Object.hasOwn(PICTURES, ETAB.state.picture)) current = ETAB.state.picture;
    new IntersectionObserver(entries => { inView = entries[0].isIntersecting; if (inView) draw(); }, { rootMargin: "300px" }).observe(holder);
    addEventListener("beforeprint", draw);
  });
});
