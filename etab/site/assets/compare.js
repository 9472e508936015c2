// Two backbones on the same patients.
"use strict";
addEventListener("load", () => {
  const ETAB = window.ETAB;
  const el = ETAB.el;
  const board = ETAB.data.board;
  const ranker = new ETAB.Ranker(board, ETAB.data.noise);
  const selects = ["a", "b"].map(id => document.getElementById(id));
  for (const select of selects) select.replaceChildren(...board.rows.map(row => el("option", { value: row.backbone }, ETAB.short(row.backbone, 60))));
  const read = () => {
    const kept = new URLSearchParams(location.hash.slice(1));
    selects.forEach((select, i) => {
      const name = kept.get(select.id);
      select.selectedIndex = Math.max(0, board.rows.findIndex(row => row.backbone === name));
      if (!board.rows.some(row => row.backbone === name)) select.selectedIndex = Math.min(i, board.rows.length - 1);
    });
    draw();
  };

  // Two-sided p from the table of Student's t.
  const rankings = new Map(); // by task, for all rows: another pair needs no new one
  const pairOf = (key, shares, a, b) => {
    if (!rankings.has(key)) rankings.set(key, ranker.rank(shares));
    const ranking = rankings.get(key);
    const i = ranking.order.indexOf(a);
    const j = ranking.order.indexOf(b);
    return i < 0 || j < 0 ? null : { ...ETAB.pair(ranking, i, j), n: ranking.n };
  };
  const pWords = p => p < 0.0001 ? "< 0.0001" : p.toFixed(4);
  const twoSided = pair => Math.min(1, 2 * Math.min(pair.p, 1 - pair.p));
  const holm = list => {
    const sorted = [...list].sort((x, y) => x.p2 - y.p2);
    let most = 0;
    sorted.forEach((item, k) => { most = Math.max(most, Math.min(1, item.p2 * (sorted.length - k))); item.corrected = most; });
  };

  const draw = () => {
    const [a, b] = selects.map(select => select.value);
    const shares = Object.fromEntries(board.tasks.map(task => [task.code, task.share]));
    const verdict = document.getElementById("verdict");
    const total = a === b ? null : pairOf("board", shares, a, b);
    if (a === b) verdict.textContent = "Choose two different backbones.";
    else if (!total) verdict.textContent = "At least one of the two has no score on this board; tasks that both have are below.";
    else verdict.textContent = `${ETAB.short(a)} minus ${ETAB.short(b)}: ETAB ${total.difference.toFixed(3)} ± ${total.encoder.toFixed(3)} (95 %, encoders), ± ${total.probe.toFixed(3)} (these probes). P(first above second) ${total.p > 0.9995 ? "> 0.999" : total.p < 0.0005 ? "< 0.001" : total.p.toFixed(3)}. ${total.apart ? "Told apart" : "Not told apart"} on the board, after Holm over all of its pairs.`;
    const items = a === b ? [] : board.tasks.map(task => {
      const only = Object.fromEntries(board.tasks.map(other => [other.code, other === task ? 1 : 0]));
      const pair = pairOf(task.code, only, a, b);
      return pair && { task, pair, p2: twoSided(pair) };
    }).filter(Boolean);
    holm(items);
    const value = (name, task) => ETAB.number(board.rows.find(row => row.backbone === name).cells[task.code]?.[0]);
    document.getElementById("by-task").replaceChildren(
      el("thead", {}, el("tr", {}, ...["Task", "Metric", "First", "Second", "Anchored difference", "± 95 %, encoders", "± 95 %, these probes", "p", "p, Holm"].map((text, i) => el("th", { scope: "col", class: i < 2 ? "l" : null }, text)))),
      el("tbody", {}, ...items.map(({ task, pair, p2, corrected }) => el("tr", {},
        el("th", { scope: "row", class: "l" }, el("a", { href: ETAB.page("task", task.file) }, task.code), ` ${task.title}`), el("td", { class: "l" }, `${task.metric_title} ${task.better > 0 ? "↑" : "↓"}`),
        el("td", {}, value(a, task)), el("td", {}, value(b, task)), el("td", { class: corrected < 0.05 ? "strong" : null }, pair.difference.toFixed(3)), el("td", {}, pair.encoder.toFixed(3)), el("td", {}, pair.probe.toFixed(3)), el("td", {}, pWords(p2)), el("td", {}, pWords(corrected))))));
    const holder = document.getElementById("differences");
    if (items.length) ETAB.charts.intervals(holder, items.map(({ task, pair }) => ({ name: `${task.code} ${task.title}`, value: pair.difference, low: pair.difference - pair.probe, high: pair.difference + pair.probe, outerLow: pair.difference - pair.encoder, outerHigh: pair.difference + pair.encoder })), {
      label: "Anchored differences by task", axis: "anchored difference: the first is better on the right", include: [0], lines: [["no difference", 0, "twin"]], caption: "Thick: 95 % of these probes on new patients. Thin: of the encoders, with new training patients too.",
    });
    else holder.replaceChildren();
    ETAB.showAgreement(a, b);
  };
  for (const select of selects) select.onchange = () => {
    history.replaceState(null, "", `#a=${encodeURIComponent(selects[0].value)}&b=${encodeURIComponent(selects[1].value)}`);
    draw();
  };
  addEventListener("hashchange", read);
  addEventListener("resize", draw);
  read();
  document.documentElement.dataset.ready = "yes";
});
