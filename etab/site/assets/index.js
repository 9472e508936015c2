// The page of the board: state, filters, address, and what links table, weights and pictures.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const ETAB = window.ETAB;
  const el = ETAB.el;
  const board = ETAB.data.board;
  const byId = id => document.getElementById(id);
  const defaults = ETAB.defaultWeights(board);
  const FILTERS = ["kind", "family", "pretraining", "licence", "size"];
  const SIZES = [["1e6", "at most 1 M"], ["5e6", "at most 5 M"], ["1e7", "at most 10 M"], ["2.5e7", "at most 25 M"], ["1e8", "at most 100 M"]];
  const state = { q: "", kind: "", family: "", pretraining: "", licence: "", size: "", values: "raw", sort: "etab", direction: "down", picked: [], only: false, columns: new Set(), weights: ETAB.defaultWeights(board), picture: "", all: false };
  const defaultColumns = () => new Set(ETAB.columns(board, state).filter(column => !column.off).map(column => column.key));
  state.columns = defaultColumns();
  let version = 0;
  let ranker = null;
  let ranking = null;

  // Numbers of a row under the weights in use; those of the board where they are its own.
  const published = row => ({ version, etab: row.etab, low: row.low, high: row.high, encoder_low: row.encoder_low, encoder_high: row.encoder_high, rank_low: row.rank_low, rank_high: row.rank_high });

  // Anchored values of each row, in the order of the tasks.
  const ANCHORED = new Map(board.rows.map(row => [row, board.tasks.map(task => ETAB.anchored(task, row.cells[task.code]?.[0]))]));
  const means = (row, shares) => {
    const values = ANCHORED.get(row);
    const mean = letters => {
      let sum = 0;
      let total = 0;
      for (let t = 0; t < values.length; t++) {
        const share = shares[board.tasks[t].code];
        if (!letters.includes(board.tasks[t].letter) || !(share > 0)) continue;
        const value = values[t];
        if (value == null) return null;
        sum += share * value;
        total += share;
      }
      return total > 0 ? sum / total : null;
    };
    const parts = { echo: "abcd", "heart sounds": "ef" };
    return {
      categories: Object.fromEntries(Object.keys(board.categories).map(letter => [letter, mean(letter)])),
      parts: Object.fromEntries(board.parts.map(part => [part, mean(parts[part] ?? "")])),
    };
  };

  ETAB.rerank = () => {
    const start = performance.now();
    version += 1;
    const isDefault = ETAB.sameWeights(state.weights, defaults);
    const shares = ETAB.sharesInUse();
    if (ETAB.data.noise && shares && !isDefault) {
      ranker ??= new ETAB.Ranker(board, ETAB.data.noise);
      ranking = ranker.rank(shares);
    }
    for (const row of board.rows) {
      const fresh = isDefault ? published(row) : { version, ...(shares ? ranking?.rows.get(row.backbone) : null) };
      row.now = { etab: null, low: null, high: null, encoder_low: null, encoder_high: null, rank_low: null, rank_high: null, ...fresh, ...means(row, shares ?? {}) };
    }
    const order = board.rows.filter(row => row.now.etab != null).sort((a, b) => b.now.etab - a.now.etab);
    for (const row of board.rows) row.now.place = null;
    order.forEach((row, place) => { row.now.place = place; });
    const text = byId("reweighted");
    text.hidden = isDefault;
    if (!shares) text.textContent = "Every weight is 0: there is nothing to score.";
    else if (!isDefault) text.textContent = `Weights of your own: ranks, scores and both intervals are computed again in this page, in closed form (Student's t, Holm over ${ETAB.whole(ranking?.tests ?? 0)} tests; ${ETAB.whole(ranking?.count ?? 0)} of ${ETAB.whole(ranking?.pairs ?? 0)} pairs told apart). They are not the published ones; the four answers at the top are for the published weights.${ETAB.data.noise?.exact === false ? " A board of this size is computed from the strongest directions of its noise: ranks near a threshold can differ by a few places." : ""}`;
    byId("weights-state").textContent = isDefault ? "" : "· changed";
    ETAB.lastRerank = performance.now() - start;
  };

  // Share of each task under the weights in use; null where every weight is 0.
  ETAB.sharesInUse = () => {
    if (ETAB.sameWeights(state.weights, defaults)) return Object.fromEntries(board.tasks.map(task => [task.code, task.share]));
    return ETAB.shares(board.tasks, state.weights);
  };

  // Pictures need all pairs, also under the weights of the board.
  ETAB.ranking = () => {
    if (!ETAB.data.noise) return null;
    ranker ??= new ETAB.Ranker(board, ETAB.data.noise);
    const shares = ETAB.sharesInUse();
    return shares ? ranker.rank(shares) : null;
  };

  const SEARCHED = new Map(board.rows.map(row => [row.backbone, [row.backbone, row.kind, row.card.family, row.card.pretraining, row.card.licence, row.card.sets.join(" "), row.folders.join(" ")].join(" ").toLowerCase()]));
  const pretrainingOf = row => row.card.sets.length ? row.card.sets : row.kind === "random twin" ? ["none"] : row.kind === "control" ? ["none"] : ["not stated"];
  ETAB.visibleRows = () => board.rows.filter(row => {
    if (state.only && !state.picked.includes(row.backbone)) return false;
    if (state.q && !state.q.toLowerCase().split(/\s+/).every(word => SEARCHED.get(row.backbone).includes(word))) return false;
    if (state.kind && row.kind !== state.kind) return false;
    if (state.family && row.card.family !== state.family) return false;
    if (state.licence && (row.card.licence || "not stated") !== state.licence) return false;
    if (state.pretraining && !pretrainingOf(row).includes(state.pretraining)) return false;
    if (state.size && !(row.card.params != null && row.card.params <= Number(state.size))) return false;
    return true;
  });

  // On one task, every pair of the board is told apart or not, as on the page of two backbones.
  const rankings = new Map();
  const rankingOf = task => {
    if (!ETAB.data.noise) return null;
    ranker ??= new ETAB.Ranker(board, ETAB.data.noise);
    if (!rankings.has(task)) rankings.set(task, ranker.rank(Object.fromEntries(board.tasks.map(other => [other.code, other === task ? 1 : 0]))));
    return rankings.get(task);
  };
  const MOST_NAMED = 5;
  const listed = names => names.slice(0, MOST_NAMED).flatMap((name, k) => [k ? ", " : "", ETAB.name(name, 40)]).concat(names.length > MOST_NAMED ? ` and ${ETAB.whole(names.length - MOST_NAMED)} more` : "");
  // Where a task sorts the table, who is best on it, and from whom the difference tells nothing.
  const tellLeader = rows => {
    const text = byId("leader");
    const task = board.tasks.find(one => one.code === state.sort);
    const ranking = task ? rankingOf(task) : null;
    const visible = new Map(rows.map(row => [row.backbone, row]));
    const places = ranking ? [...ranking.order.keys()].filter(k => visible.has(ranking.order[k])) : [];
    text.hidden = !places.length;
    if (text.hidden) return;
    const [first, ...others] = places;
    const name = ranking.order[first];
    const { cells, card } = visible.get(name);
    const [value, , , low, high] = cells[task.code];
    const facts = [`95 % of this encoder: ${ETAB.interval(low, high)}`, card.params > 0 ? `${ETAB.params(card.params)} parameters` : null, `licence: ${ETAB.clean(card.licence || "not stated")}`].filter(Boolean);
    const alike = others.filter(k => !ETAB.pair(ranking, first, k).apart).map(k => ranking.order[k]);
    const verdict = alike.length ? [" Not told apart from it on this task: ", ...listed(alike), "."] : others.length ? [" It is told apart from all others shown."] : [];
    const left = rows.filter(row => row.marks.seen.length && row.cells[task.code] && !ranking.order.includes(row.backbone)).length;
    text.replaceChildren(`${ETAB.capital(ETAB.clean(task.title))}: `, ETAB.name(name, 60), ` has the best value, ${ETAB.measured(value, task)} (${facts.join("; ")}).`, ...verdict, left ? " Rows with an overlap are left out." : "");
  };

  const table = new ETAB.Table(board, state, (what, row, on) => {
    if (what === "pick") {
      state.picked = state.picked.filter(name => name !== row.backbone);
      if (on) state.picked.push(row.backbone);
      if (!state.only) {
        count();
        writeLater();
        return;
      }
      // The row is gone, and with it the box that had the focus.
      state.only = state.picked.length > 0;
      refresh();
      (byId("table").querySelector(".pick") ?? byId("q")).focus();
      return;
    }
    refresh();
  });

  const count = () => {
    const rows = ETAB.visibleRows();
    const text = `${ETAB.whole(rows.length)} of ${ETAB.whole(board.rows.length)} backbones`;
    const link = state.picked.length === 2 ? el("a", { class: "button", href: `compare.html#a=${encodeURIComponent(state.picked[0])}&b=${encodeURIComponent(state.picked[1])}` }, "Compare the two") : null;
    const more = byId("more");
    more.hidden = !table.left;
    more.firstElementChild.textContent = `Show all ${ETAB.whole(rows.length)} rows`;
    const only = byId("only");
    only.hidden = !state.picked.length;
    only.setAttribute("aria-pressed", String(state.only));
    only.textContent = `Only ticked rows (${state.picked.length})`;
    byId("count").replaceChildren(text, table.left ? `, the first ${ETAB.whole(rows.length - table.left)} are in the table` : "", ...(link ? [" ", link] : state.picked.length === 1 ? [" · tick one more to compare"] : state.picked.length ? [" · tick two to compare"] : []));
  };

  const refresh = (redraw = false) => {
    const rows = ETAB.visibleRows();
    if (redraw) table.draw(rows);
    else table.update(rows);
    count();
    tellLeader(rows);
    byId("sort").value = state.sort;
    writeLater();
    document.dispatchEvent(new CustomEvent("etab-view", { detail: { rows, state } }));
  };

  // Weights move with the pointer: one new ranking for each frame of the screen.
  let waiting = false;
  const reweigh = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const start = performance.now();
      ETAB.rerank();
      refresh();
      ETAB.lastUpdate = performance.now() - start;
    });
  };
  ETAB.reweigh = weights => {
    const start = performance.now();
    Object.assign(state.weights.categories, weights.categories);
    Object.assign(state.weights.tasks, weights.tasks);
    ETAB.rerank();
    refresh();
    document.body.getBoundingClientRect();
    return performance.now() - start;
  };

  // The address keeps what differs from the first view.
  let pending = 0;
  const writeLater = () => {
    clearTimeout(pending);
    pending = setTimeout(write, 150);
  };
  const write = () => {
    clearTimeout(pending);
    const kept = new URLSearchParams();
    for (const key of ["q", ...FILTERS]) if (state[key]) kept.set(key, state[key]);
    if (state.values !== "raw") kept.set("values", state.values);
    if (state.sort !== "etab" || state.direction !== "down") kept.set("sort", `${state.sort}.${state.direction}`);
    const first = defaultColumns();
    const changed = [...[...first].filter(key => !state.columns.has(key)).map(key => `-${key}`), ...[...state.columns].filter(key => !first.has(key)).map(key => `+${key}`)];
    if (changed.length) kept.set("columns", changed.join(","));
    const weights = ETAB.weightsText(state.weights, defaults);
    if (weights) kept.set("weights", weights);
    for (const name of state.picked) kept.append("pick", name);
    if (state.only) kept.set("only", "ticked");
    if (state.all) kept.set("rows", "all");
    if (state.picture) kept.set("picture", state.picture);
    ETAB.keepPicture?.(kept);
    ETAB.keepBoard(kept);
    const text = kept.toString();
    const current = location.hash.slice(1);
    if (text === current || (!text && !current.includes("="))) return;
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  };

  // Keys of a view that this file reads. Those of the pictures are read in pictures.js.
  const KEYS = ["q", ...FILTERS, "values", "sort", "columns", "weights", "pick", "only", "rows", "picture"];
  const read = () => {
    const kept = ETAB.openLink();
    const unfit = [];
    // The value of a key, if it is one of those that the page knows; otherwise the first of these.
    const oneOf = (key, known) => {
      const value = kept.get(key) ?? known[0];
      if (known.includes(value)) return value;
      unfit.push([key, value, "no such choice"]);
      return known[0];
    };
    state.q = kept.get("q") ?? "";
    for (const key of FILTERS) state[key] = kept.get(key) ?? "";
    state.size = oneOf("size", ["", ...SIZES.map(([value]) => value)]);
    for (const [key, values] of Object.entries(filterOptions())) {
      if (state[key] && !values.includes(state[key])) unfit.push([key, state[key], "no backbone of this board has it"]);
    }
    state.values = oneOf("values", ["raw", "anchored"]);
    [state.sort, state.direction] = splitLast(oneOf("sort", ["etab.down", ...sortings().flatMap(({ key }) => [`${key}.down`, `${key}.up`])]));
    readColumns(kept.get("columns") ?? "", unfit);
    const { weights, unfit: unfitWeights } = ETAB.weightsFrom(kept.get("weights") ?? "", defaults);
    state.weights = weights;
    const picked = [...new Set(kept.getAll("pick"))];
    const isOfBoard = name => board.rows.some(row => row.backbone === name);
    state.picked = picked.filter(isOfBoard);
    unfit.push(...unfitWeights, ...picked.filter(name => !isOfBoard(name)).map(name => ["pick", name, "no backbone of this board has this name"]));
    state.only = oneOf("only", ["", "ticked"]) === "ticked" && state.picked.length > 0;
    state.all = oneOf("rows", ["", "all"]) === "all";
    state.picture = kept.get("picture") ?? ""; // pictures.js knows which there are
    ETAB.tellUnfit("board", KEYS, unfit);
  };
  const readColumns = (text, unfit) => {
    state.columns = defaultColumns();
    const known = new Set(ETAB.columns(board, state).map(column => column.key));
    for (const change of text ? text.split(",") : []) {
      const key = change.slice(1);
      if (!known.has(key) || !/^[-+ ]/.test(change)) unfit.push(["column", change.replace(/^ /, "+"), "no column of this board, shown by + and left out by −"]);
      else if (change.startsWith("-")) state.columns.delete(key);
      else state.columns.add(key);
    }
  };
  const splitLast = text => [text.slice(0, text.lastIndexOf(".")), text.slice(text.lastIndexOf(".") + 1)];

  // What rows can be filtered by, apart from their size.
  const filterOptions = () => ({
    kind: [...new Set(board.rows.map(row => row.kind))],
    family: [...new Set(board.rows.map(row => row.card.family))].filter(Boolean).sort(),
    pretraining: [...new Set(board.rows.flatMap(pretrainingOf))].sort(),
    licence: [...new Set(board.rows.map(row => row.card.licence || "not stated"))].sort(),
  });

  const fillControls = () => {
    byId("q").value = state.q;
    byId("values").value = state.values;
    for (const [key, values] of Object.entries(filterOptions())) {
      if (state[key] && !values.includes(state[key])) values.push(state[key]); // of a link to another board
      byId(`f-${key}`).replaceChildren(el("option", { value: "" }, "all"), ...values.map(value => el("option", { value }, ETAB.short(value, 40))));
    }
    byId("f-size").replaceChildren(el("option", { value: "" }, "any"), ...SIZES.map(([value, label]) => el("option", { value }, label)));
    for (const key of FILTERS) byId(`f-${key}`).value = state[key];
    byId("sort").replaceChildren(...sortings().map(({ key, label }) => el("option", { value: key }, ETAB.short(label, 60))));
    columnChooser();
    ETAB.buildSliders(byId("weight-list"), board, state.weights, reweigh);
  };

  // What the table can be sorted by, in words, and whether high values come first.
  const sortings = () => [
    { key: "rank", label: "Rank" }, { key: "backbone", label: "Name" },
    ...ETAB.columns(board, state).map(({ key, label, task, better }) => ({ key, label: task ? `${task.title} (${key})` : label, better, isColumn: true })),
  ];
  byId("sort").onchange = event => {
    const chosen = sortings().find(one => one.key === event.target.value);
    state.sort = chosen.key;
    state.direction = chosen.better > 0 ? "down" : "up";
    const isNew = chosen.isColumn && !state.columns.has(chosen.key);
    if (isNew) { state.columns.add(chosen.key); columnChooser(); }
    refresh(isNew);
  };

  const columnChooser = () => {
    const groups = new Map();
    for (const column of ETAB.columns(board, state)) groups.set(column.group, [...(groups.get(column.group) ?? []), column]);
    const boxes = [...groups].map(([group, columns]) => el("fieldset", {}, el("legend", {}, group), ...columns.map(column => {
      const box = el("input", { type: "checkbox", onchange: () => {
        if (box.checked) state.columns.add(column.key);
        else state.columns.delete(column.key);
        refresh(true);
      } });
      box.checked = state.columns.has(column.key);
      return el("label", { class: "check" }, box, column.task ? `${column.key} ${column.task.title}` : column.label);
    })));
    byId("column-list").replaceChildren(...boxes);
  };

  const exports = () => {
    const about = () => ({ title: board.title, suite: board.suite, suite_version: board.suite_version, protocol: board.protocol, seed: board.seed, phantom: board.phantom, weights: ETAB.sameWeights(state.weights, defaults) ? "those of the board" : state.weights, own_weights: ETAB.weightsText(state.weights, defaults) });
    byId("export-list").replaceChildren(el("p", { class: "note" }, "The rows that the filters leave, in their order, with the visible columns."), ...Object.entries(ETAB.EXPORTS).map(([ending, kind]) =>
      el("button", { type: "button", "data-export": ending, onclick: () => {
        ETAB.download(`leaderboard.${ending}`, kind.type, kind.write(table.values(ETAB.visibleRows()), about()));
      } }, kind.label)), el("p", { class: "note" }, "All data of this folder: ", el("a", { href: "data/board.json" }, "data/board.json"), "."));
  };

  const legend = () => {
    const has = kind => board.rows.some(row => row.kind === kind);
    const lines = ETAB.lineWords(board);
    const items = [
      ["rank", "An interval: backbones that the differences do not tell apart share it."],
      ["ETAB", `0 is the trivial predictor, 1 the named reference. In the bar, the dot is the score, the thick line the 95 % interval of these probes on new ${board.people}, the thin line that of this encoder, with new training ${board.people} too.`],
      ...(lines ? [["lines", `${lines} A backbone left of them has learned nothing that pixels or random weights do not give.`]] : []),
      ...(has("control") ? [["control", "What simple measurements of the recording, or none of it, achieve. The page of each says what it is."]] : []),
      ...(has("random twin") ? [["random twin", "The same network without its pretraining."]] : []),
      ["colour", "Blue: above the trivial predictor. Orange: below it."],
    ];
    if (board.rows.some(row => row.marks.seen.length)) items.push(["overlap", "The backbone was pretrained on data of the test; such rows take no rank."]);
    const lostByAll = Object.entries(table.lostByAll);
    const isMarked = row => Object.entries(row.marks.lost).some(([code, count]) => count > (table.lostByAll[code] ?? 0));
    if (board.rows.some(isMarked)) items.push([ETAB.missingWords(board.tasks), "Some recordings have no prediction, and others of the board have one. The page of the backbone counts them for each task."]);
    if (lostByAll.length) items.push(["missing for all", `Recordings of which no backbone has a prediction: ${lostByAll.map(([code, count]) => `${ETAB.whole(count)} of ${code}`).join(", ")}.`]);
    if (board.tasks.some(task => task.separates === false)) items.push(["separates nothing", "The task tells no two backbones of the board apart."]);
    if (board.rows.some(row => row.marks.vectors)) items.push(["vectors supplied", "The features were computed elsewhere; their encoder was not run here."]);
    byId("legend").replaceChildren(...items.map(([name, text]) => el("li", {}, el("b", {}, name), ` ${text}`)));
  };

  const all = () => {
    read();
    fillControls();
    ETAB.rerank();
    refresh(true);
    ETAB.readPicture?.();
    ETAB.tellOtherBoard();
  };

  byId("q").oninput = event => { state.q = event.target.value; refresh(); };
  for (const key of FILTERS) byId(`f-${key}`).onchange = event => { state[key] = event.target.value; refresh(); };
  byId("values").onchange = event => { state.values = event.target.value; refresh(true); };
  byId("reset").onclick = () => { history.replaceState(null, "", location.pathname + location.search); all(); };
  for (const button of document.querySelectorAll("[data-copy]")) button.onclick = () => ETAB.copy(button, byId(button.dataset.copy).textContent, "Copy it from the box above");
  byId("only").onclick = () => { state.only = !state.only; refresh(); };
  const showAll = () => { state.all = true; refresh(true); };
  byId("more").firstElementChild.onclick = showAll;
  let narrow = innerWidth;
  addEventListener("resize", () => {
    if (narrow === innerWidth) return;
    narrow = innerWidth;
    refresh(true);
  });
  addEventListener("beforeprint", () => { if (table.left) showAll(); });
  addEventListener("hashchange", () => { if (location.hash.includes("=")) all(); });
  // Pictures are drawn on the way to a heading, and move it: it is reached by a second step.
  const reach = () => {
    const target = location.hash.includes("=") ? null : document.getElementById(location.hash.slice(1));
    if (!target) return;
    const { top } = target.getBoundingClientRect();
    if (top < 0 || top > innerHeight - 60) target.scrollIntoView();
  };
  const reachLater = () => addEventListener("scrollend", () => setTimeout(reach, 200), { once: true });
  addEventListener("hashchange", reachLater);
  if (location.hash) addEventListener("load", () => { reachLater(); setTimeout(reach, 600); });
  ETAB.state = state;
  ETAB.setPicture = key => { state.picture = key; write(); };
  ETAB.writeAddress = write;
  exports();
  legend();
  all();
  document.documentElement.dataset.ready = "yes";
  // Noise comes after the first picture of the table; an address with weights waits for it.
  addEventListener("load", () => {
    if (!ETAB.sameWeights(state.weights, defaults)) { ETAB.rerank(); refresh(); }
    else tellLeader(ETAB.visibleRows());
    document.documentElement.dataset.loaded = "yes";
    setTimeout(() => { ranker ??= new ETAB.Ranker(board, ETAB.data.noise); }, 300); // before the first slider
  });
});
