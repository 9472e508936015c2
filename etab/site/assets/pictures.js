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

  // What is chosen within the pictures; the address keeps it.
  const curveTasks = board.curve_tasks;
  const groupTasks = board.tasks.filter(task => task.subgroups);
  const first = { cost: "params", curve: curveTasks[0] ?? "", choice: board.robustness[0] ?? "", group: groupTasks[0]?.code ?? "", factor: "" };
  const chosen = { ...first };
  let unfit = null; // parts of the link that do not fit; null once a reader has chosen
  const tellUnfit = () => ETAB.tellUnfit("pictures", Object.keys(first), unfit);
  const choose = (name, value) => { chosen[name] = value; unfit = null; ETAB.writeAddress(); };
  ETAB.keepPicture = kept => { for (const name in chosen) if (chosen[name] !== first[name]) kept.set(name, chosen[name]); };

  const PICTURES = {
    scores: ["Scores", rows => ETAB.charts.intervals(holder, byPlace(rows).map(row => ({ name: row.backbone, value: row.now.etab, low: row.now.low, high: row.now.high, outerLow: row.now.encoder_low, outerHigh: row.now.encoder_high, quiet: isQuiet(row) })), { label: "ETAB with intervals", axis: "ETAB", lines: lines(), caption: `Thick: 95 % interval of these probes on new ${board.people}. Thin: of this encoder, with new training ${board.people} too. ${ETAB.lineWords(board)}` })],
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
  const drawCost = rows => {
    const { cost } = chosen;
    const costs = COSTS[cost];
    const ranked = byPlace(rows);
    const points = ranked.filter(row => row.card[cost] > 0).map(row => ({ name: row.backbone, x: row.card[cost], y: row.now.etab, low: row.now.encoder_low, high: row.now.encoder_high, quiet: isQuiet(row) }));
    const left = ranked.length - points.length;
    ETAB.charts.size(holder, points, {
      label: `ETAB against ${costs.axis}`, x: costs.axis, words: costs.words, fast: costs.fast, format: cost === "params" ? "~s" : "~g",
      caption: `Vertical lines: 95 % of this encoder. Dashed: the front of the best score ${costs.fast ? "at this speed or above" : "at this cost or below"}.${costs.note ?? ""}${left ? ` Left out, because it is 0 or not known: ${left} of ${ranked.length} rows.` : ""}`,
    });
    const buttons = Object.entries(COSTS).filter(([key]) => board.rows.some(row => row.card[key] > 0)).map(([key, { name }]) => el("button", { type: "button", "aria-pressed": String(key === cost), onclick: () => { choose("cost", key); draw(); holder.querySelector("[aria-pressed=true]").focus(); } }, name));
    if (buttons.length > 1) holder.prepend(el("div", { class: "controls", role: "group", "aria-label": "Cost" }, ...buttons));
  };

  const taskNamed = code => [code, board.tasks.find(task => task.code === code)?.title].filter(Boolean).join(" ");
  const metricOf = (code, metric) => {
    const task = board.tasks.find(one => one.code === code);
    const title = board.metric_titles[metric] ?? metric;
    return task ? ETAB.withUnit(title, task, metric) : title;
  };
  // Label efficiency, for folders with results of few labelled patients: one task at a time.
  const drawCurves = async rows => {
    const points = await ETAB.load("curves");
    if (current !== "curves") return;
    const curveTask = chosen.curve;
    const visible = new Set(rows.map(row => row.backbone));
    const ofTask = points.filter(point => point.task === curveTask && visible.has(point.backbone));
    const places = new Map(byPlace(rows).map((row, k) => [row.backbone, k]));
    const place = name => places.get(name) ?? Infinity;
    const series = d3.sort(d3.groups(ofTask, point => point.backbone), ([name]) => place(name)).map(([name, ofName]) => ({ name, base: name.replace(/^random\//, ""), points: ofName.map(p => ({ ...p, x: p.rows })).sort((a, b) => a.x - b.x) }));
    const select = el("select", { "aria-label": "Task" }, ...curveTasks.map(code => el("option", { value: code, selected: code === curveTask }, taskNamed(code))));
    select.onchange = async () => { choose("curve", select.value); await draw(); holder.querySelector("select").focus(); };
    if (series.length) ETAB.charts.curves(holder, series, { label: `${curveTask}: label efficiency`, y: metricOf(curveTask, ofTask[0].metric), caption: `${taskNamed(curveTask)}: value over the number of training rows, the mean over draws of the labelled patients. Bands: 95 %, over draws and test patients; click a name below the picture to show or hide its band. Dashed: random twins. Protocol: ${[...new Set(ofTask.map(point => point.base))].join(", ")}. Protocol and heads may differ from those of the table.` });
    else holder.replaceChildren(el("p", { class: "note" }, "No visible row has results with few labelled patients."));
    holder.prepend(el("div", { class: "controls" }, select));
  };
  if (curveTasks.length) PICTURES.curves = ["Label efficiency", drawCurves];

  // Robustness: one choice at a time, of those that the results tell something about.
  const CHOICES = { "fold seed": "Fold seed", head: "Head", precision: "Precision", data: "Release of the data" };
  const chooser = (label, keys, current, name, choose) => el("div", { class: "controls", role: "group", "aria-label": label }, ...keys.map(key => el("button", { type: "button", "aria-pressed": String(key === current), onclick: () => choose(key) }, name(key))));
  const refocus = () => holder.querySelector("[aria-pressed=true]")?.focus();

  // The score of a row for each division into folds, under the weights in use. Tasks with one
  // division, such as databases left out in turn, keep their value.
  const scoresOfRepeats = (row, known, shares) => {
    const used = board.tasks.filter(task => shares[task.code] > 0);
    const repeated = used.map(task => known?.[task.code]).filter(Boolean);
    if (!repeated.length) return [];
    const total = d3.sum(used, task => shares[task.code]);
    const value = (task, k) => known[task.code]?.[k] ?? row.cells[task.code][0];
    return d3.range(d3.min(repeated, list => list.length)).map(k => d3.sum(used, task => shares[task.code] * ETAB.anchored(task, value(task, k))) / total);
  };
  const drawFoldSeed = (rows, known) => {
    const shares = ETAB.sharesInUse() ?? {};
    const scores = new Map(rows.map(row => [row, scoresOfRepeats(row, ETAB.own(known, row.backbone), shares)]));
    const repeated = rows.filter(row => scores.get(row).length > 1);
    const single = board.tasks.filter(task => shares[task.code] > 0 && repeated.some(row => !known[row.backbone][task.code])).map(task => task.code);
    const places = (row, k) => 1 + repeated.filter(other => scores.get(other)[k] > scores.get(row)[k]).length;
    ETAB.charts.intervals(holder, repeated.map(row => ({ name: row.backbone, value: row.now.etab, low: NaN, high: NaN, outerLow: row.now.encoder_low, outerHigh: row.now.encoder_high, quiet: isQuiet(row), dots: scores.get(row).map((x, k) => ({ x, title: `${ETAB.short(row.backbone)}, division ${k + 1}: ${ETAB.number(x)}, place ${places(row, k)}` })) })), {
      label: "Scores of each division into folds", axis: "ETAB", caption: `Each circle: the score with one division of the patients into folds. Tick: the score of the board, over all divisions. Line: 95 % of this encoder, for scale.${single.length ? ` Of one division, and the same in all circles: ${single.join(", ")}.` : ""}${repeated.length < rows.length ? ` Left out, because all tasks have one division only: ${rows.length - repeated.length} of ${rows.length} rows.` : ""}`,
    });
  };
  const drawOther = (rows, known) => {
    const lines = rows.filter(row => ETAB.own(known, row.backbone)).map(row => {
      const dots = Object.entries(known[row.backbone]).map(([code, [words, difference]]) => {
        const task = board.tasks.find(one => one.code === code);
        const x = difference / (task.high - task.low);
        return { x, title: `${code} ${task.title}: ${words} (anchored ${x >= 0 ? "+" : "−"}${Math.abs(x).toFixed(3)})` };
      });
      return { name: row.backbone, value: d3.mean(dots, dot => dot.x), low: NaN, high: NaN, quiet: isQuiet(row), dots };
    });
    ETAB.charts.intervals(holder, lines, {
      label: `Change of values with another choice: ${CHOICES[chosen.choice]}`, axis: "change of the anchored value: higher on the right", include: [0], lines: [["as on the board", 0, "twin"]],
      caption: "Each circle: a task for which the results hold another result of the same backbone that differs in this choice alone; of several, the one farthest away. Tick: the mean of the circles. Dashed line: the values of the board. Point at a circle to see its task.",
    });
  };
  const drawRobustness = async rows => {
    const facts = await ETAB.load("robustness");
    if (current !== "robustness") return;
    const ranked = byPlace(rows);
    if (chosen.choice === "fold seed") drawFoldSeed(ranked, facts[chosen.choice]);
    else drawOther(ranked, facts[chosen.choice]);
    if (board.robustness.length > 1) holder.prepend(chooser("Choice", board.robustness, chosen.choice, key => CHOICES[key], async key => { choose("choice", key); await draw(); refocus(); }));
  };
  if (board.robustness.length) PICTURES.robustness = ["Robustness", drawRobustness];

  // Subgroups: one task and one fact of the patients at a time.
  const MOST_GROUPED = 12;
  const FEWEST_PEOPLE = 50; // in a group that is named as the worst, as in etab.metrics.clinical
  // The worst large group of each row, over all facts; small groups are extreme by chance.
  const worstGroups = (task, data, rows) => rows.map(row => {
    const parts = data.rows[row.backbone].map((part, k) => part && { name: data.groups[k], value: part[0], low: part[1], high: part[2], n: part[3] });
    const large = parts.filter(part => part && part.value != null && part.n >= FEWEST_PEOPLE);
    return { row, worst: d3.least(large, part => task.better * part.value) };
  }).filter(line => line.worst);
  const worstTable = (task, lines) => {
    const heads = ["Backbone", "Group", ETAB.capital(task.metric_title), "95 %, all groups together", `${ETAB.capital(task.unit)}s`];
    const table = el("table", { class: "plain", id: "worst-groups" },
      el("caption", { class: "l" }, `The worst group of each backbone, among groups of ${FEWEST_PEOPLE} ${task.unit}s or more`),
      el("thead", {}, el("tr", {}, ...heads.map((head, k) => el("th", { scope: "col", class: k < 2 ? "l" : null }, head)))),
      el("tbody", {}, ...lines.map(({ row, worst }) => el("tr", {}, el("th", { scope: "row", class: "l" }, ETAB.name(row.backbone)), el("td", { class: "l" }, ETAB.name(worst.name)),
        ...[ETAB.number(worst.value), ETAB.interval(worst.low, worst.high), ETAB.whole(worst.n)].map(text => el("td", {}, text))))));
    ETAB.labelled(table);
    return table;
  };
  const drawGroups = async rows => {
    const task = groupTasks.find(one => one.code === chosen.group);
    const data = await ETAB.load(`subgroups/${task.file}`);
    if (current !== "subgroups" || task.code !== chosen.group) return;
    const factorOf = name => name.slice(0, name.indexOf(": "));
    const factors = [...new Set(data.groups.map(factorOf))];
    const isKnown = factors.includes(chosen.factor);
    const factor = isKnown ? chosen.factor : factors[0];
    // The facts of a task are known now that its file is read.
    if (unfit && chosen.factor && !isKnown) {
      unfit.push(["factor", chosen.factor, "no groups of this task are made by it"]);
      chosen.factor = "";
      tellUnfit();
    }
    const places = d3.range(data.groups.length).filter(k => factorOf(data.groups[k]) === factor);
    const names = places.map(k => data.groups[k].slice(factor.length + 2));
    const known = byPlace(rows).filter(row => ETAB.own(data.rows, row.backbone));
    const listed = known.slice(0, MOST_GROUPED).map(row => ({ name: row.backbone, parts: places.map(k => data.rows[row.backbone][k]).map(part => part && { value: part[0], low: part[1], high: part[2], n: part[3] }) }));
    const counts = names.map((_, k) => { const [least, most] = d3.extent(listed.map(row => row.parts[k]?.n).filter(Number.isFinite)); return least == null ? "" : `, ${least === most ? ETAB.counted(least, task.unit) : `${ETAB.whole(least)} to ${ETAB.counted(most, task.unit)}`}`; });
    if (listed.length) ETAB.charts.groups(holder, listed, names, {
      label: `${task.code} by ${factor}`, axis: `${task.metric_title}, ${task.better > 0 ? "higher" : "lower"} is better`, counts, unit: task.unit,
      caption: `${ETAB.capital(task.title)} by ${factor}. The intervals of all ${data.groups.length} groups of a backbone hold together in 95 % of cases (Bonferroni); small groups have wide ones.${known.length > listed.length ? ` The first ${listed.length} of ${known.length} rows.` : ""}`,
    });
    else holder.replaceChildren(el("p", { class: "note" }, "No visible row has subgroups of this task."));
    const worst = worstGroups(task, data, known.slice(0, MOST_GROUPED));
    if (worst.length) holder.append(worstTable(task, worst));
    else if (listed.length) holder.append(el("p", { class: "note" }, `No group has ${FEWEST_PEOPLE} ${task.unit}s or more, so no worst group is named.`));
    for (const note of board.group_notes ?? []) holder.append(el("p", { class: "note" }, note));
    const select = el("select", {}, ...groupTasks.map(one => el("option", { value: one.code, selected: one === task }, `${one.code} ${one.title}`)));
    select.onchange = async () => { choose("group", select.value); await draw(); holder.querySelector("select").focus(); };
    holder.prepend(el("div", { class: "controls" }, el("label", { class: "field grow" }, el("span", {}, "Task"), select)), chooser("Groups by", factors, factor, key => key, async key => { choose("factor", key); await draw(); refocus(); }));
  };
  if (groupTasks.length) PICTURES.subgroups = ["Subgroups", drawGroups];

  // What this site could show and does not, and what would show it.
  const absent = [
    ["curves", "Label efficiency", "the results hold no cells with few labelled patients", "etab run --fractions 2,5,10,25,50,100 --draws 3, or etab leaderboard RESULTS --curves FILE"],
    ["robustness", "Robustness", "no other fold seed, head, precision or release of the data is among the results", "etab leaderboard RESULTS --variants OTHERS"],
    ["subgroups", "Subgroups", "the site was made without the facts of the patients", "etab leaderboard RESULTS --subgroups DATA"],
  ].filter(([key]) => !PICTURES[key]);
  document.getElementById("no-pictures").replaceChildren(...absent.map(([, name, why, command]) => el("p", { class: "note" }, `${name}: not shown, because ${why} (`, el("code", {}, command), ").")));

  const tabs = document.getElementById("picture-tabs");
  let current = "scores";
  const markTab = () => {
    for (const tab of tabs.children) {
      const on = tab.dataset.picture === current;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
    }
    holder.setAttribute("aria-labelledby", `tab-${current}`);
  };
  const draw = () => {
    markTab();
    const rows = ETAB.visibleRows();
    if (!rows.some(row => row.now.place != null)) holder.replaceChildren(el("p", { class: "note" }, "No ranked row is visible."));
    else return PICTURES[current][1](rows);
    return null;
  };
  const show = (key, focus) => {
    current = key;
    ETAB.setPicture(key === "scores" ? "" : key);
    draw();
    if (focus) document.getElementById(`tab-${key}`).focus();
  };
  const keys = Object.keys(PICTURES);
  tabs.replaceChildren(...keys.map(key => el("button", { type: "button", role: "tab", id: `tab-${key}`, "data-picture": key, "aria-controls": "picture", onclick: () => show(key) }, PICTURES[key][0])));
  tabs.onkeydown = event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) show(keys[(keys.indexOf(current) + step + keys.length) % keys.length], true);
  };
  // Pictures are drawn when they come into view, and after the change of view has settled.
  let timer = 0;
  let inView = false;
  const later = () => { clearTimeout(timer); if (inView) timer = setTimeout(draw, 120); };
  document.addEventListener("etab-view", later);
  addEventListener("resize", later);
  ETAB.readPicture = () => {
    const kept = ETAB.view();
    const known = { cost: Object.keys(COSTS), curve: curveTasks, choice: board.robustness, group: groupTasks.map(task => task.code) };
    unfit = [];
    for (const name in first) {
      const value = kept.get(name) ?? first[name];
      const isKnown = value === first[name] || (known[name]?.includes(value) ?? true);
      chosen[name] = isKnown ? value : first[name];
      if (!isKnown) unfit.push([name, value, "no choice of these pictures"]);
    }
    const { picture } = ETAB.state;
    current = Object.hasOwn(PICTURES, picture) ? picture : "scores";
    if (picture && picture !== current) unfit.push(["picture", picture, "not among those of this board"]);
    tellUnfit();
    markTab();
    later();
  };
  ETAB.readPicture(); // before the address is written for the first time
  addEventListener("load", () => {
    new IntersectionObserver(entries => { inView = entries[0].isIntersecting; if (inView) draw(); }, { rootMargin: "300px" }).observe(holder);
    addEventListener("beforeprint", draw);
  });
});
