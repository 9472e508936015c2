// Predictions of one backbone against the truth, and of two backbones against each other.
"use strict";
(() => {
  const ETAB = window.ETAB;
  const el = ETAB.el;
  const CASES = 3;

  // Rows of a task for some backbones: {name, truth, values}; null where one has no predictions. Of
  // classes, a value is the probability given to the true class, and `shares` has those of all.
  const rowsOf = (data, backbones) => {
    const places = backbones.map(name => data.backbones.indexOf(name));
    if (places.includes(-1)) return null;
    const values = ETAB.unpack(data.values);
    const truth = data.truth && ETAB.unpack(data.truth);
    const n = data.items.length;
    const patientOf = k => data.patients ? data.patients[data.patient_of[k]] : data.items[k];
    if (data.kind !== "classes") return data.items.map((name, k) => ({ name, patient: patientOf(k), truth: truth ? truth[k] : null, values: places.map(place => values[place * n + k]) }));
    const m = data.classes;
    return data.items.map((name, k) => {
      const shares = places.map(place => values.slice((place * n + k) * m, (place * n + k + 1) * m));
      const index = Math.round(truth[k]);
      return { name, patient: patientOf(k), truth: null, index, shares, values: shares.map(share => share[index]) };
    });
  };
  const className = (task, k) => task.classes[k] ?? `class ${k}`;

  // How far a prediction is from the truth; for masks and classes, from a whole overlap or a sure answer.
  const error = (row, value) => row.truth == null ? 1 - value : Math.abs(value - row.truth);
  // Masks have no number as truth, so that their tables have no such column.
  const truthHead = data => data.truth ? ["Truth"] : [];
  const truthOf = (row, task) => row.index != null ? [ETAB.name(className(task, row.index))] : row.truth == null ? [] : [row.truth];
  const UNITS = { value: "predicted value", binary: "predicted probability", mask: "Dice overlap", classes: "probability of the true class" };
  const ERRORS = { value: "absolute error", binary: "absolute error", mask: "1 − Dice", classes: "1 − probability" };

  const inUnit = task => task.measured_in ? `, ${ETAB.short(task.measured_in, 28)}` : "";

  const choices = (select, tasks, draw) => {
    select.replaceChildren(...tasks.map(task => el("option", { value: task.code }, `${task.code} ${task.title}`)));
    select.onchange = draw;
  };

  const table = (holder, heads, lines) => {
    holder.replaceChildren(
      el("thead", {}, el("tr", {}, ...heads.map((head, i) => el("th", { scope: "col", class: i === 0 ? "l" : null }, ETAB.brokenName(head, 32))))),
      el("tbody", {}, ...lines.map(line => el("tr", {}, el("th", { scope: "row", class: "l" }, ETAB.name(line[0])), ...line.slice(1).map(value => el("td", {}, typeof value === "number" ? ETAB.number(value) : value))))));
    ETAB.labelled(holder);
  };

  const show = async (select, names, draw) => {
    const task = ETAB.data.board.tasks.find(one => one.code === select.value);
    if (!task) return;
    const data = await ETAB.load(`predictions/${task.file}`);
    if (select.value !== task.code) return; // another task was chosen meanwhile
    draw(task, data, rowsOf(data, names));
  };

  // One class at a time; another one is chosen by a button.
  const calibrationOfClass = (holder, task, data, rows, k, label) => {
    ETAB.charts.calibration(holder, rows.map(row => ({ p: row.shares[0][k], truth: Number(row.index === k) })), { label: `${label}, ${className(task, k)}`, x: `mean predicted probability of ${ETAB.short(className(task, k), 28)}`, y: "observed share", caption: "Calibration of one class at a time: ten groups of equal size, with 95 % intervals by Wilson. On the dashed line, predicted and observed shares agree." });
    const choose = other => { calibrationOfClass(holder, task, data, rows, other, label); holder.querySelector("[aria-pressed=true]").focus(); };
    holder.prepend(el("div", { class: "controls", role: "group", "aria-label": "Class" }, ...d3.range(data.classes).map(other => el("button", { type: "button", "aria-pressed": String(other === k), onclick: () => choose(other) }, ETAB.short(className(task, other), 28)))));
  };

  const oneBackbone = (holder, task, data, rows) => {
    const label = `${task.code}: predictions and truth`;
    if (data.kind === "value") {
      ETAB.charts.agreement(holder, rows.map(row => ({ a: row.values[0], b: row.truth, name: row.name })), { label, x: `mean of prediction and truth${inUnit(task)}`, y: `prediction minus truth${inUnit(task)}`, caption: "Bland and Altman: the difference from the truth over the mean of both. Dashed: bias. Dotted: limits of agreement, bias ± 1.96 standard deviations. Predictions are means over the repeats of the folds." });
    } else if (data.kind === "binary") {
      ETAB.charts.calibration(holder, rows.map(row => ({ p: row.values[0], truth: row.truth })), { label, x: `mean predicted probability${task.positive ? ` of ${ETAB.short(task.positive, 28)}` : ""}`, y: "observed share", caption: "Calibration: ten groups of equal size, with 95 % intervals by Wilson. On the dashed line, predicted and observed shares agree." });
    } else if (data.kind === "classes") calibrationOfClass(holder, task, data, rows, 0, label);
    else ETAB.charts.histogram(holder, rows.map(row => row.values[0]), { label, x: "Dice overlap", caption: "Dice overlap of predicted and true mask, over all frames. Dashed: the median." });
  };

  // Best, median and worst cases, by the error of each row.
  const cases = (holder, task, data, rows) => {
    const sorted = rows.map(row => ({ row, error: error(row, row.values[0]) })).sort((a, b) => a.error - b.error || (a.row.name < b.row.name ? -1 : 1));
    const middle = Math.max(0, Math.floor(sorted.length / 2) - 1);
    const groups = [["best", 0], ["median", middle], ["worst", Math.max(0, sorted.length - CASES)]];
    const lines = groups.flatMap(([name, from]) => sorted.slice(from, from + CASES).map(({ row, error: far }) => [row.name, name, ...truthOf(row, task), row.values[0], far]));
    table(holder, ["Row", "Case", ...truthHead(data), ETAB.capital(UNITS[data.kind]), ETAB.capital(ERRORS[data.kind])], lines);
    document.getElementById("frame-note").hidden = !lines.some(([name]) => /#\d/.test(name));
  };

  ETAB.showPredictions = backbone => {
    const select = document.getElementById("prediction-task");
    const tasks = ETAB.data.board.tasks.filter(task => task.predictions && ETAB.data.board.rows.find(row => row.backbone === backbone).cells[task.code]);
    document.getElementById("predictions").hidden = !tasks.length;
    const draw = () => show(select, [backbone], (task, data, rows) => {
      document.getElementById("prediction-note").hidden = Boolean(rows);
      if (!rows) return;
      oneBackbone(document.getElementById("prediction-picture"), task, data, rows);
      cases(document.getElementById("cases"), task, data, rows);
    });
    choices(select, tasks, draw);
    const wanted = ETAB.openLink().get("task");
    const isKnown = tasks.some(task => task.code === wanted);
    if (isKnown) select.value = wanted;
    ETAB.tellUnfit("predictions", ["task"], wanted == null || isKnown ? [] : [["task", wanted, "no task of which this backbone has predictions"]]);
    select.addEventListener("change", () => history.replaceState(null, "", `#task=${encodeURIComponent(select.value)}`));
    addEventListener("resize", draw);
    draw();
  };

  const twoBackbones = (holder, names, task, data, rows) => {
    const label = `${task.code}: predictions of both`;
    const [first, second] = names.map(name => ETAB.short(name, 28));
    if (data.kind === "value") {
      ETAB.charts.agreement(holder, rows.map(row => ({ a: row.values[0], b: row.values[1], name: row.name })), { label, x: `mean of both predictions${inUnit(task)}`, y: `${first} minus ${second}${inUnit(task)}`, caption: "Bland and Altman: the difference of the two predictions over their mean. Dashed: bias. Dotted: limits of agreement, bias ± 1.96 standard deviations." });
      return;
    }
    const isBinary = data.kind === "binary";
    const positive = ETAB.short(task.positive || "the positive class", 28);
    const captions = {
      binary: `Each dot is a row, at the probability that each predicts of ${positive}: orange where the truth is ${positive}, blue where it is not. On the dashed line, both agree.`,
      mask: `Each dot is a frame. Above the dashed line, ${second} overlaps the true mask better.`,
      classes: `Each dot is a row: the probability that each gives to the true class. Above the dashed line, ${second} gives it a higher one.`,
    };
    const points = rows.map(row => ({ x: row.values[0], y: row.values[1], name: row.name, cls: isBinary && row.truth >= 0.5 ? "positive" : "" })).sort((one, another) => one.cls.length - another.cls.length); // positive ones on top
    ETAB.charts.scatter(holder, points, { label, x: `${UNITS[data.kind]}, ${first}`, y: `${UNITS[data.kind]}, ${second}`, diagonal: true, caption: captions[data.kind] });
  };

  // The row of each patient on which two backbones differ most, the largest difference first.
  const rowsApart = rows => {
    const gap = row => Math.abs(row.values[0] - row.values[1]);
    const largest = new Map();
    for (const row of rows) {
      const known = largest.get(row.patient);
      if (!known || gap(row) > gap(known)) largest.set(row.patient, row);
    }
    return [...largest.values()].sort((x, y) => gap(y) - gap(x));
  };

  // For how many patients, or what stands for them, each of two backbones has the smaller mean error.
  const closerWords = (names, rows, unit) => {
    const gaps = new Map();
    for (const row of rows) gaps.set(row.patient, (gaps.get(row.patient) ?? 0) + error(row, row.values[0]) - error(row, row.values[1]));
    const all = [...gaps.values()];
    const [first, second] = [all.filter(gap => gap < 0).length, all.filter(gap => gap > 0).length];
    const alike = all.length - first - second;
    return `By the mean error of each ${unit}, ${ETAB.short(names[0], 40)} is closer to the truth for ${ETAB.whole(first)} of ${ETAB.counted(all.length, unit)}, and ${ETAB.short(names[1], 40)} for ${ETAB.whole(second)}${alike ? `; for ${ETAB.whole(alike)} both are equally close` : ""}.`;
  };

  ETAB.showAgreement = (a, b, wanted) => {
    const board = ETAB.data.board;
    const select = document.getElementById("agreement-task");
    const both = [a, b].map(name => board.rows.find(row => row.backbone === name));
    const tasks = a === b ? [] : board.tasks.filter(task => task.predictions && both.every(row => row.cells[task.code]));
    document.getElementById("agreement").hidden = !tasks.length;
    const chosen = wanted ?? select.value;
    const draw = () => show(select, [a, b], (task, data, rows) => {
      document.getElementById("agreement-note").hidden = Boolean(rows);
      if (!rows) return;
      twoBackbones(document.getElementById("agreement-picture"), [a, b], task, data, rows);
      const apart = rowsApart(rows).slice(0, 10);
      document.getElementById("closer").textContent = closerWords([a, b], rows, task.unit);
      // Where no patient has several rows, each row is one.
      const note = document.getElementById("apart-note");
      note.hidden = !data.patients;
      note.textContent = `Of each ${task.unit}, the row with the largest difference of the two.`;
      table(document.getElementById("apart"), [data.patients ? "Row" : ETAB.capital(task.unit), ...truthHead(data), ETAB.short(a, 28), ETAB.short(b, 28), "Difference", "Closer"], apart.map(row => {
        const gap = error(row, row.values[0]) - error(row, row.values[1]);
        return [row.name, ...truthOf(row, task), ...row.values, row.values[0] - row.values[1], gap < 0 ? ETAB.brokenName(a, 28) : gap > 0 ? ETAB.brokenName(b, 28) : "both"];
      }));
    });
    choices(select, tasks, draw);
    if (tasks.some(task => task.code === chosen)) select.value = chosen;
    draw();
  };
})();
