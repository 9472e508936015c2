// The picture of one task.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const ETAB = window.ETAB;
  const board = ETAB.data.board;
  const holder = document.getElementById("values-picture");
  const task = board.tasks.find(one => one.code === holder.dataset.task);
  const rows = board.rows.filter(row => row.cells[task.code]).map(row => {
    const [value, low, high, outerLow, outerHigh] = row.cells[task.code];
    return { name: row.backbone, value, low, high, outerLow, outerHigh, quiet: ETAB.isReference(row) };
  });
  rows.sort((a, b) => (b.value - a.value) * task.better);
  const draw = () => ETAB.charts.intervals(holder, rows, {
    label: `${task.code}: values with intervals`, axis: `${task.metric_title}, ${task.better > 0 ? "higher" : "lower"} is better`, include: [task.low],
    lines: [["0: trivial predictor", task.low, "control"]],
    caption: `Thick: 95 % of these probes on new ${task.unit}s. Thin: of this encoder. Dotted line: the trivial predictor.`,
  });
  draw();
  addEventListener("resize", draw);
});
