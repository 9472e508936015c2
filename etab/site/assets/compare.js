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
    const kept = ETAB.openLink();
    ETAB.tellOtherBoard();
    const unfit = [];
    selects.forEach((select, i) => {
      const name = kept.get(select.id);
      const place = board.rows.findIndex(row => row.backbone === name);
      select.selectedIndex = place < 0 ? Math.min(i, board.rows.length - 1) : place;
      if (place < 0 && name != null) unfit.push([select.id, name, "no backbone of this board has this name, and another one is shown"]);
    });
    const task = kept.get("task");
    draw(task);
    if (task != null && agreement.value !== task) unfit.push(["task", task, "no task of which both have predictions"]);
    ETAB.tellUnfit("compare", ["a", "b", "task"], unfit);
  };

  // Two-sided p from the table of Student's t.
  const rankings = new Map(); // by task, for all rows: another pair needs no new one
  const pairOf = (key, shares, a, b, withSeen) => {
    if (!rankings.has(key)) rankings.set(key, ranker.rank(shares, withSeen));
    const ranking = rankings.get(key);
    const i = ranking.order.indexOf(a);
    const j = ranking.order.indexOf(b);
    return i < 0 || j < 0 ? null : { ...ETAB.pair(ranking, i, j), points: [i, j].map(k => ranking.points[ranking.index[k]]) };
  };
  const pWords = p => p < 0.0001 ? "< 0.0001" : p.toFixed(4);
  const twoSided = pair => Math.min(1, 2 * Math.min(pair.p, 1 - pair.p));
  const holm = list => {
    const sorted = [...list].sort((x, y) => x.p2 - y.p2);
    let most = 0;
    sorted.forEach((item, k) => { most = Math.max(most, Math.min(1, item.p2 * (sorted.length - k))); item.corrected = most; });
  };

  const pText = p => p > 0.9995 ? "> 0.999" : p < 0.0005 ? "< 0.001" : p.toFixed(3);
  const verdictOf = (a, b, total) => {
    if (a === b) return "Choose two different backbones.";
    if (!total) return "At least one of the two has no score on this board; tasks that both have are below.";
    const [better, other] = total.difference > 0 ? [a, b] : [b, a];
    const verdict = total.apart ? `${ETAB.short(better)} is better than ${ETAB.short(other)} on this board` : `${ETAB.short(a)} and ${ETAB.short(b)} are not told apart on this board`;
    const isClearAlone = !total.apart && Math.abs(total.difference) > total.encoder;
    const why = isClearAlone ? " This interval is of the one pair alone and leaves 0 out; among all pairs of the board, some do so by chance." : "";
    return `${verdict}, after Holm over all of its pairs. ETAB of ${ETAB.short(a)} minus that of ${ETAB.short(b)}: ${ETAB.number(total.difference)} ± ${total.encoder.toFixed(3)} (95 %, encoders), ± ${total.probe.toFixed(3)} (these probes). The probability that ${ETAB.short(a)} is the better one is ${pText(total.p)}.${why}`;
  };

  // Means of the score that a pair is compared in: the whole, the parts, the categories.
  const PARTS = { echo: "abcd", "heart sounds": "ef" };
  const within = letters => Object.fromEntries(board.tasks.map(task => [task.code, letters.includes(task.letter) ? task.share : 0]));
  const means = [
    ["ETAB", Object.keys(board.categories).join("")],
    ...board.parts.map(part => [`ETAB of ${part}`, PARTS[part]]),
    ...(Object.keys(board.categories).length > 1 ? Object.entries(board.categories).map(([letter, name]) => [name, letter]) : []),
  ].map(([name, letters]) => [name, within(letters)]);

  // Lines of a table with a test each; Holm covers the lines of the table.
  const tested = lines => {
    const known = lines.filter(line => line.pair).map(line => ({ ...line, p2: twoSided(line.pair) }));
    holm(known);
    return known;
  };
  // ETAB stands out where the board tells the two apart, as the verdict says: a family of a few
  // lines must not contradict that of all pairs.
  const testCells = ({ name, pair, p2, corrected }) => {
    const isWhole = name === "ETAB";
    const texts = [pair.encoder.toFixed(3), pair.probe.toFixed(3), pWords(p2), isWhole ? `${pair.apart ? "below" : "not below"} 0.05` : pWords(corrected)];
    return [el("td", { class: (isWhole ? pair.apart : corrected < 0.05) ? "strong" : null }, ETAB.number(pair.difference)), ...texts.map(text => el("td", {}, text))];
  };
  const TESTS = ["Anchored difference", "± 95 %, encoders", "± 95 %, these probes", "p", "p, Holm"];
  const fill = (id, heads, left, lines) => {
    const table = document.getElementById(id);
    table.replaceChildren(
      el("thead", {}, el("tr", {}, ...heads.map((text, i) => el("th", { scope: "col", class: i < left ? "l" : null }, ETAB.name(text, 32))))),
      el("tbody", {}, ...lines.map(cells => el("tr", {}, ...cells))));
    ETAB.labelled(table);
  };

  const draw = task => {
    const [a, b] = selects.map(select => select.value);
    const rows = [a, b].map(name => board.rows.find(row => row.backbone === name));
    // A row that saw a test has no score; on single tasks it is compared, with a mark.
    const withSeen = rows.some(row => row.marks.seen.length);
    const pairOn = (key, shares) => a === b ? null : pairOf(key, shares, a, b);
    const pairOnTask = task => a === b ? null : pairOf(`${task.code} ${withSeen}`, Object.fromEntries(board.tasks.map(other => [other.code, other === task ? 1 : 0])), a, b, withSeen || undefined);
    const shares = Object.fromEntries(board.tasks.map(task => [task.code, task.share]));
    document.getElementById("verdict").textContent = verdictOf(a, b, pairOn("ETAB", shares));
    const parts = tested(means.filter(([, part]) => Object.values(part).some(share => share > 0)).map(([name, part]) => {
      const total = Object.values(part).reduce((sum, share) => sum + share, 0);
      return { name, pair: pairOn(name, Object.fromEntries(Object.entries(part).map(([code, share]) => [code, share / total]))) };
    }));
    fill("by-part", ["Score", a, b, ...TESTS], 1, parts.map(line => [
      el("th", { scope: "row", class: "l" }, line.name), ...line.pair.points.map(value => el("td", {}, ETAB.number(value))), ...testCells(line)]));
    const items = tested(board.tasks.map(task => ({ task, pair: pairOnTask(task) })));
    const overlap = task => rows.some(row => row.marks.seen.includes(task.code)) ? el("span", { class: "mark loud", title: "One of the two was pretrained on this test data" }, "overlap") : null;
    fill("by-task", ["Task", "Metric", a, b, ...TESTS], 2, items.map(line => [
      el("th", { scope: "row", class: "l" }, el("a", { href: ETAB.page("task", line.task.file) }, line.task.code), ` ${ETAB.clean(line.task.title)}`, overlap(line.task)),
      el("td", { class: "l" }, `${line.task.metric_title} ${line.task.better > 0 ? "↑" : "↓"}`),
      ...rows.map(row => el("td", {}, ETAB.number(row.cells[line.task.code]?.[0]))), ...testCells(line)]));
    for (const [id, lines] of [["part", parts], ["task", items]]) document.getElementById(`by-${id}-all`).hidden = !lines.length;
    const holder = document.getElementById("differences");
    holder.hidden = !items.length;
    if (items.length) ETAB.charts.intervals(holder, items.map(({ task, pair }) => ({ name: `${task.code} ${task.title}`, value: pair.difference, low: pair.difference - pair.probe, high: pair.difference + pair.probe, outerLow: pair.difference - pair.encoder, outerHigh: pair.difference + pair.encoder })), {
      label: "Anchored differences by task", axis: `anchored difference: ${ETAB.short(a, 40)} is better on the right`, include: [0], lines: [["no difference", 0, "twin"]], caption: `Thick: 95 % of these probes on new ${board.people}. Thin: of the encoders, with new training ${board.people} too.`,
    });
    ETAB.showAgreement(a, b, task);
  };
  // The address keeps both names, and the task of the agreement.
  const agreement = document.getElementById("agreement-task");
  const write = () => {
    const kept = new URLSearchParams(selects.map(select => [select.id, select.value]));
    if (agreement.value) kept.set("task", agreement.value);
    ETAB.keepBoard(kept);
    history.replaceState(null, "", `#${kept}`);
  };
  agreement.addEventListener("change", write);
  for (const select of selects) select.onchange = () => {
    draw();
    write();
    ETAB.openLink();
    ETAB.tellUnfit("compare", ["a", "b", "task"], []); // the names of the link are left
  };
  ETAB.writeAddress = write;
  addEventListener("hashchange", read);
  addEventListener("resize", () => draw());
  read();
  document.documentElement.dataset.ready = "yes";
});
