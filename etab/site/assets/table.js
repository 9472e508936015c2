// The table: columns, rows, sorting. A new ranking changes cells and order without new rows.
"use strict";
(() => {
  const ETAB = window.ETAB;
  const el = ETAB.el;
  // Width of the picture of a score; on a narrow screen it fits beside name, rank and score.
  const barWidth = () => innerWidth <= 640 ? 74 : 168;

  // Columns: key, label, group, value of a row for sorting, what a cell shows, +1 where high is good.
  ETAB.columns = (board, state) => {
    const raw = state.values === "raw";
    const card = (key, label, of, better = 0) => ({ key, label, group: "About the encoder", of, better, text: true });
    const list = [
      { key: "etab", label: "ETAB", group: "Score", of: row => row.now.etab, better: 1, live: true, strong: true, title: "weighted mean of anchored metrics" },
      { key: "interval", label: "95 % intervals", group: "Score", of: row => row.now.etab, better: 1, live: true, bar: true, small: "scale", title: `thick: these probes on new ${board.people}; thin: this encoder, with new training ${board.people} too` },
      { key: "probes", label: "95 %, these probes", group: "Score", of: row => row.now.low, better: 1, live: true, span: row => [row.now.low, row.now.high], off: true },
      { key: "encoder", label: "95 %, this encoder", group: "Score", of: row => row.now.encoder_low, better: 1, live: true, span: row => [row.now.encoder_low, row.now.encoder_high], off: true },
      board.precise && { key: "etab_p", label: "etab-p", group: "Score", of: row => row.etab_p, better: 1, off: true, title: "tasks of a category weighted by their precision, under the weights of the board" },
      { key: "etab2022", label: "etab2022", group: "Score", of: row => row.etab2022, better: 1, off: true, title: "score of 2022: raw metrics, under the weights of the board" },
      { ...card("params", "Parameters", row => row.card.params, -1), words: ETAB.params },
      { ...card("gmacs", "GMACs", row => row.card.gmacs, -1), words: ETAB.number, off: true, title: "giga multiply-adds of one input" },
      { ...card("per_second", "Inputs a second", row => row.card.per_second, 1), words: ETAB.number, off: true, title: board.rows.find(row => row.card.machine)?.card.machine },
      { ...card("family", "Family", row => row.card.family), off: true },
      { ...card("pretraining", "Pretraining", row => row.card.pretraining), off: true },
      board.rows.some(row => row.folders.length > 0) && card("folder", "Folder", row => row.folders.join(", ")),
      { ...card("licence", "Licence", row => row.card.licence), off: false },
      ...board.parts.map(part => ({ key: `part:${part}`, label: `ETAB of ${part}`, group: "Categories", of: row => row.now.parts[part], better: 1, live: true, heat: row => row.now.parts[part] })),
      ...Object.entries(board.categories).map(([letter, name]) => ({ key: `category:${letter}`, label: name, group: "Categories", of: row => row.now.categories[letter], better: 1, live: true, heat: row => row.now.categories[letter], title: "weighted mean of anchored metrics" })),
      ...board.tasks.map(task => ({
        key: task.code, label: task.code, group: task.category, task, better: raw ? task.better : 1,
        small: raw ? `${ETAB.withUnit(task.metric, task, task.metric)} ${task.better > 0 ? "↑" : "↓"}` : "anchored",
        title: `${task.title}: ${task.metric_title}, ${task.better > 0 ? "higher" : "lower"} is better`,
        of: row => raw ? row.cells[task.code]?.[0] : ETAB.anchored(task, row.cells[task.code]?.[0]),
        heat: row => ETAB.anchored(task, row.cells[task.code]?.[0]),
        cell: row => row.cells[task.code],
        off: board.tasks.length > 14,
      })),
    ];
    return list.filter(Boolean);
  };

  // A board of more rows shows the first ones until a reader wants all: a table that is laid out
  // again for each step of a slider must be short.
  ETAB.mostRows = 100;

  // What a cell shows already is not written again: each change costs a new layout.
  const write = (cell, text) => {
    if (cell.shown === text) return;
    cell.shown = text;
    cell.textContent = text;
  };

  const heat = (cell, value) => {
    if (cell.heat === value) return;
    cell.heat = value;
    if (value == null) {
      cell.style.removeProperty("--heat");
      delete cell.dataset.heat;
      return;
    }
    cell.style.setProperty("--heat", Math.min(1, Math.abs(value)).toFixed(3));
    cell.dataset.heat = value < 0 ? "below" : "above";
  };

  // Puts the rows into order with few moves: each move costs a new layout of its row.
  const arrange = (body, lines) => {
    let next = body.firstElementChild;
    for (const line of lines) {
      if (next && next !== line && next.nextElementSibling === line) {
        const moved = next;
        next = line;
        moved.remove();
      }
      if (next === line) next = next.nextElementSibling;
      else body.insertBefore(line, next);
    }
    while (next) {
      const gone = next;
      next = next.nextElementSibling;
      gone.remove();
    }
  };

  // What the head of a column says: its label, then its scale; of a task the code, the metric and what is asked.
  const headWords = column => {
    const arrow = el("span", { class: "arrow" });
    if (!column.task) return [column.label, arrow, column.small ? el("small", {}, column.small) : null];
    return [el("span", { class: "code" }, column.label), el("small", { class: "unit" }, ` ${column.small}`), arrow, el("small", { class: "what" }, ETAB.short(column.task.title, 60))];
  };

  // Rows without a prediction by task, as far as no backbone has one: those tell nothing of a backbone.
  const lostByAll = board => {
    const lost = {};
    for (const { code } of board.tasks) {
      const least = Math.min(...board.rows.filter(row => row.cells[code]).map(row => row.marks.lost[code] ?? 0));
      if (least > 0 && least < Infinity) lost[code] = least;
    }
    return lost;
  };

  // What is missing of some tasks: patients, or recordings where nobody knows the patients.
  ETAB.missingWords = tasks => `${[...new Set(tasks.map(task => `${task.unit}s`))].join(" and ")} missing`;

  class Table {
    constructor(board, state, changed) {
      this.board = board;
      this.state = state;
      this.changed = changed;
      this.table = document.getElementById("table");
      this.built = new Map();
      this.lostByAll = lostByAll(board);
    }

    visibleColumns() {
      const chosen = this.state.columns;
      return ETAB.columns(this.board, this.state).filter(column => chosen.has(column.key));
    }

    // Full drawing, after a change of columns or values.
    draw(rows) {
      this.columns = this.visibleColumns();
      this.table.style.setProperty("--columns", String(this.columns.length + 2));
      this.built.clear();
      this.bar = barWidth();
      this.head();
      this.release();
      this.update(rows);
      this.published();
      this.hold();
    }

    // Columns keep the widths of the first drawing, so that a new ranking lays out its own cells
    // and not the whole table.
    hold() {
      const heads = [...this.table.tHead.rows[1].cells];
      const widths = heads.map(head => Math.ceil(head.getBoundingClientRect().width));
      if (!widths[0]) return; // not drawn yet
      const columns = widths.map(width => {
        const column = el("col", {});
        column.style.width = `${width}px`;
        return column;
      });
      this.table.prepend(this.table.caption, el("colgroup", {}, ...columns));
      this.table.classList.add("held");
      this.table.style.minWidth = `${widths.reduce((sum, width) => sum + width, 0)}px`;
    }

    release() {
      this.table.querySelector("colgroup")?.remove();
      this.table.classList.remove("held");
      this.table.style.minWidth = "";
    }

    head() {
      const sorter = column => {
        const active = this.state.sort === column.key;
        const direction = this.state.direction === "down" ? "descending" : "ascending";
        const button = el("button", { type: "button", title: column.title, onclick: () => this.sortBy(column) }, ...headWords(column));
        const mark = column.task?.separates === false ? el("span", { class: "mark", title: "This task tells no two backbones of the board apart." }, "separates nothing") : null;
        return el("th", { scope: "col", class: `${column.text || column.bar ? "l" : ""} ${column.bar ? "bar" : ""} ${column.first ? "first" : ""}`, "data-key": column.key, "aria-sort": active ? direction : null }, button, mark);
      };
      let group = null;
      for (const column of this.columns) {
        column.first = column.group !== group;
        group = column.group;
      }
      const groups = el("tr", { class: "groups" }, el("td", { class: "stick" }), el("td", {}));
      for (const column of this.columns) {
        if (column.first) groups.append(el("th", { scope: "colgroup", colspan: this.columns.filter(other => other.group === column.group).length, class: "first" }, column.group));
      }
      this.table.tHead.replaceChildren(groups, el("tr", {},
        this.withClass(sorter({ key: "backbone", label: "Backbone", better: -1, text: true }), "stick"),
        sorter({ key: "rank", label: "Rank", better: -1, text: true, title: "best and worst rank that the differences allow" }),
        ...this.columns.map(sorter)));
    }

    withClass(element, name) {
      element.classList.add(name);
      return element;
    }

    sortBy(column) {
      const state = this.state;
      const first = column.better > 0 ? "down" : "up";
      state.direction = state.sort !== column.key ? first : state.direction === "down" ? "up" : "down";
      state.sort = column.key;
      this.changed("sort");
      this.table.tHead.querySelector(`[data-key="${CSS.escape(column.key)}"] button`).focus();
    }

    sorted(rows) {
      const { sort, direction } = this.state;
      const column = ETAB.columns(this.board, this.state).find(one => one.key === sort); // also a hidden one
      let of = row => row.now.place;
      let sign = direction === "down" ? -1 : 1;
      if (sort === "backbone") of = row => row.backbone.toLowerCase();
      else if (sort === "rank") of = row => row.now.rank_low == null ? null : row.now.rank_low * 1e4 + row.now.place;
      else if (column) of = column.of;
      else sign = 1;
      return [...rows].sort((a, b) => {
        const x = of(a);
        const y = of(b);
        const emptyX = x == null || x === "" || Number.isNaN(x);
        const emptyY = y == null || y === "" || Number.isNaN(y);
        if (emptyX || emptyY) return emptyX - emptyY;
        if (x === y) return (a.now.place ?? 1e9) - (b.now.place ?? 1e9);
        return x > y ? sign : -sign;
      });
    }

    // After a change of ranking, order or filter: cells that changed, and the order of the rows.
    update(rows) {
      const scored = this.board.rows.filter(row => row.now.etab != null);
      this.low = scored.length ? Math.floor(Math.min(...scored.map(row => row.now.encoder_low)) * 20) / 20 : 0;
      this.high = scored.length ? Math.ceil(Math.max(...scored.map(row => row.now.encoder_high)) * 20) / 20 : 1;
      const best = kind => Math.max(...this.board.rows.filter(row => row.kind === kind && row.now.etab != null).map(row => row.now.etab));
      this.references = ["control", "random twin"].map(kind => [kind, best(kind)]).map(([kind, value]) => [kind, Number.isFinite(value) ? value : null]);
      const visible = this.sorted(rows).slice(0, this.state.all ? rows.length : ETAB.mostRows);
      const [from, to] = this.onScreen(visible.length);
      const hidden = visible.filter((_, k) => k < from || k > to);
      arrange(this.table.tBodies[0], visible.map((row, k) => this.line(row, k >= from && k <= to)));
      clearTimeout(this.timer);
      this.timer = setTimeout(() => { for (const row of hidden) this.line(row, true); }, 100);
      this.left = rows.length - visible.length;
      const scale = this.table.tHead.querySelector("[data-key=interval] small");
      if (scale) scale.textContent = `${this.low.toFixed(2)} to ${this.high.toFixed(2)}`;
      for (const th of this.table.tHead.querySelectorAll("[data-key]")) {
        if (th.dataset.key === this.state.sort) th.setAttribute("aria-sort", this.state.direction === "down" ? "descending" : "ascending");
        else th.removeAttribute("aria-sort");
      }
    }

    // Numbers of the first and last row on the screen, with some more; the others are filled later.
    onScreen(count) {
      const body = this.table.tBodies[0];
      if (body.rows.length < 40) return [0, count];
      const { top, height } = body.getBoundingClientRect();
      const step = height / body.rows.length;
      return [Math.floor(-top / step) - 3, Math.ceil((innerHeight - top) / step) + 3];
    }

    line(row, isOnScreen) {
      let built = this.built.get(row.backbone);
      if (!built) {
        built = this.build(row);
        this.built.set(row.backbone, built);
      }
      if (built.version !== row.now.version && (isOnScreen || built.version == null)) {
        built.version = row.now.version;
        this.fillRank(built.rank, row);
        for (const [column, cell] of built.live) {
          if (column.bar) this.fillBar(built, cell, row);
          else this.fill(cell, column, row);
        }
      }
      return built.line;
    }

    build(row) {
      const rank = el("td", { class: "l" });
      const line = el("tr", { class: ETAB.isReference(row) ? "other" : "" }, this.nameCell(row), rank);
      const live = [];
      for (const column of this.columns) {
        const cell = el("td", { class: `${column.text || column.bar ? "l" : ""} ${column.strong ? "strong" : ""} ${column.first ? "first" : ""} ${column.text ? "card" : ""}` });
        if (column.live) live.push([column, cell]);
        else this.fill(cell, column, row);
        line.append(cell);
      }
      return { line, rank, live, bar: null, version: null };
    }

    nameCell(row) {
      const marks = [];
      if (row.kind !== "pretrained") marks.push(el("span", { class: "kind" }, row.kind));
      if (row.marks.seen.length) marks.push(el("span", { class: "mark loud", title: `Pretrained on test data of ${row.marks.seen.join(", ")}` }, "overlap"));
      const lost = Object.entries(row.marks.lost).filter(([code, count]) => count > (this.lostByAll[code] ?? 0));
      if (lost.length) marks.push(el("span", { class: "mark", title: lost.map(([code, count]) => `${code}: ${ETAB.whole(count)} without a prediction`).join("; ") }, ETAB.missingWords(lost.map(([code]) => this.board.tasks.find(task => task.code === code)))));
      if (row.missing.length) marks.push(el("span", { class: "kind", title: row.missing.join(", ") }, `${row.missing.length} of ${this.board.tasks.length} tasks missing`));
      const pick = el("input", { type: "checkbox", class: "pick", "aria-label": `Choose ${ETAB.short(row.backbone)} for a comparison`, onchange: () => this.changed("pick", row, pick.checked) });
      pick.checked = this.state.picked.includes(row.backbone);
      // The title of its card says what a short name such as "envelopes" stands for.
      const what = row.card.title && row.card.title !== row.backbone ? `: ${row.card.title}` : "";
      return el("th", { scope: "row", class: "l stick" }, el("span", { class: "namebox" }, pick, el("span", { class: "names" }, el("a", { href: ETAB.page("backbone", row.file), title: ETAB.short(`${row.backbone}${what}`, 300) }, ETAB.brokenName(row.backbone)), ...marks)));
    }

    fillRank(cell, row) {
      const { rank_low: low, rank_high: high } = row.now;
      const state = `${low} ${high}`;
      if (cell.shown === state) return;
      cell.shown = state;
      if (low == null) cell.replaceChildren(el("span", { class: "none" }, row.marks.seen.length && !row.missing.length ? "not ranked: overlap" : "not ranked"));
      else cell.replaceChildren(el("span", { class: low === high ? "rank sole" : "rank" }, low === high ? String(low) : `${low}–${high}`));
    }

    fill(cell, column, row) {
      if (column.span) {
        const [low, high] = column.span(row);
        write(cell, ETAB.interval(low, high));
        return;
      }
      const value = column.of(row);
      if (column.words) write(cell, column.words(value));
      else if (column.text) {
        cell.replaceChildren(value ? ETAB.name(value, 60) : "–");
        if (value && value.length > 24) cell.title = ETAB.short(value, 400);
      } else {
        write(cell, value == null && column.task ? "missing" : ETAB.number(value));
        cell.classList.toggle("none", value == null);
      }
      if (column.heat) heat(cell, column.heat(row));
      const facts = column.cell?.(row);
      if (facts) {
        const [raw, low, high, encoderLow, encoderHigh, patients, leftOut] = facts;
        cell.title = `${column.label} ${ETAB.measured(raw, column.task)}; 95 % these probes ${ETAB.interval(low, high)}; this encoder ${ETAB.interval(encoderLow, encoderHigh)}; ${ETAB.counted(patients, column.task.unit)}${leftOut ? `, ${ETAB.whole(leftOut)} left out` : ""}`;
        if (row.marks.seen.includes(column.key)) cell.append(el("span", { class: "mark loud", title: "Pretrained on this test data" }, "overlap"));
      }
    }

    // The bar is made once for each row; a new ranking moves its lines.
    fillBar(built, cell, row) {
      const now = row.now;
      if (now.etab == null) {
        built.bar = null;
        cell.replaceChildren();
        return;
      }
      if (!built.bar) {
        const line = (cls, y1, y2) => el("line", { class: cls, y1, y2 });
        const parts = { reach: line("reach", 11, 11), whisker: line("whisker", 11, 11), dot: el("circle", { class: "dot", cy: 11, r: 4 }) };
        const axis = [6, this.bar - 6].map(x => el("line", { class: "axis", x1: x, x2: x, y1: 0, y2: 22 }));
        const lines = this.references.map(([kind]) => line(`reference ${kind === "control" ? "control" : "twin"}`, 0, 22));
        const svg = el("svg", { width: this.bar, height: 22, viewBox: `0 0 ${this.bar} 22`, role: "img" }, ...axis, ...lines, parts.reach, parts.whisker, parts.dot);
        built.bar = { ...parts, svg, lines };
        cell.replaceChildren(svg);
      }
      const x = value => (6 + (value - this.low) / (this.high - this.low) * (this.bar - 12)).toFixed(1);
      const move = (line, a, b) => {
        line.setAttribute("x1", x(a));
        line.setAttribute("x2", x(b));
      };
      const { svg, lines, reach, whisker, dot } = built.bar;
      svg.setAttribute("aria-label", `ETAB ${ETAB.number(now.etab)}; these probes ${ETAB.interval(now.low, now.high)}; this encoder ${ETAB.interval(now.encoder_low, now.encoder_high)}`);
      lines.forEach((line, k) => {
        const value = this.references[k]?.[1];
        line.toggleAttribute("hidden", value == null);
        if (value != null) move(line, value, value);
      });
      move(reach, now.encoder_low, now.encoder_high);
      move(whisker, now.low, now.high);
      dot.setAttribute("cx", x(now.etab));
    }

    published() {
      const body = document.getElementById("published");
      if (!this.board.published.length) return;
      const span = this.columns.length + 2;
      // Values stand in their columns, and all of them as words beside the name: the columns of
      // tasks may be hidden, or far to the right.
      const task = code => this.board.tasks.find(one => one.code === code);
      const words = row => Object.entries(row.values).map(([code, value]) => `${task(code).title} (${code}): ${task(code).metric_title} ${ETAB.number(value)}`).join(" · ");
      const firstTask = this.columns.findIndex(column => column.task);
      const before = firstTask < 0 ? this.columns.length : firstTask;
      const inColumn = (row, column) => {
        const value = column.task ? row.values[column.key] : null;
        if (value == null) return "";
        return ETAB.number(this.state.values === "raw" ? value : ETAB.anchored(column.task, value));
      };
      const lines = this.board.published.map(row => el("tr", { class: "published" },
        el("th", { scope: "row", class: "l stick" }, el("span", { class: "names" }, ETAB.brokenName(row.who), el("span", { class: "kind", title: `${row.data}; ${row.source}` }, `${row.data}. ${row.source}`))),
        el("td", { class: "l none" }, "published"),
        before ? el("td", { class: "l first values", colspan: before }, words(row)) : null,
        ...this.columns.slice(before).map(column => el("td", { class: column.first ? "first" : "" }, inColumn(row, column)))));
      body.replaceChildren(el("tr", { class: "divider" }, el("th", { scope: "rowgroup", class: "l", colspan: span }, el("span", {}, `Published elsewhere: other training, input or ${this.board.people}, never ranked`))), ...lines);
    }

    // The visible rows and columns as plain values.
    values(rows) {
      const heads = ["backbone", "kind", "rank_low", "rank_high"];
      const cells = [row => row.backbone, row => row.kind, row => row.now.rank_low, row => row.now.rank_high];
      const whole = new Set([2, 3]); // columns of whole numbers
      for (const column of this.columns) {
        // An interval that several columns show is exported once.
        const ends = column.bar ? ["etab", "encoder"] : { probes: ["etab"], encoder: ["encoder"] }[column.key];
        for (const end of ends ?? []) {
          if (heads.includes(`${end}_low`)) continue;
          const [low, high] = end === "etab" ? ["low", "high"] : ["encoder_low", "encoder_high"];
          heads.push(`${end}_low`, `${end}_high`);
          cells.push(row => row.now[low], row => row.now[high]);
        }
        if (!ends) {
          if (column.key === "params") whole.add(heads.length);
          heads.push(column.task ? `${column.key} ${column.small.replace(/ [↑↓]$/, "")}` : column.label);
          cells.push(column.of);
        }
      }
      return { heads, whole, rows: this.sorted(rows).map(row => cells.map(of => of(row) ?? null)) };
    }
  }

  ETAB.Table = Table;
})();
