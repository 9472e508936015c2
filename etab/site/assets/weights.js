// Sliders for the weights of categories and tasks.
"use strict";
(() => {
  const ETAB = window.ETAB;
  const el = ETAB.el;
  const MOST = 3; // of a slider, unless the board or an address has a larger weight
  const LARGEST = 1000; // of an address

  ETAB.defaultWeights = board => ({
    categories: { ...board.weights.categories },
    tasks: { ...board.weights.tasks },
  });

  ETAB.sameWeights = (a, b) => ["categories", "tasks"].every(kind =>
    Object.keys(a[kind]).every(name => Math.abs(a[kind][name] - b[kind][name]) < 1e-9));

  // Only weights that differ from the board's go into the address: "a:2,b0-A4-C:0".
  ETAB.weightsText = (weights, defaults) => ["categories", "tasks"].flatMap(kind =>
    Object.keys(weights[kind]).filter(name => weights[kind][name] !== defaults[kind][name])
      .map(name => `${name}:${weights[kind][name]}`)).join(",");

  // The weights of such a text, and the items that do not fit, as ETAB.tellUnfit takes them.
  ETAB.weightsFrom = (text, defaults) => {
    const weights = { categories: { ...defaults.categories }, tasks: { ...defaults.tasks } };
    const unfit = [];
    for (const item of text ? text.split(",") : []) {
      const cut = item.lastIndexOf(":");
      const name = item.slice(0, cut);
      const digits = item.slice(cut + 1);
      const value = digits.trim() ? Number(digits) : NaN;
      const kind = ["categories", "tasks"].find(one => Object.hasOwn(weights[one], name));
      if (!kind) unfit.push(["weight", item, "no category or task of this board has this name"]);
      else if (!(value >= 0 && value <= LARGEST)) unfit.push(["weight", item, `a weight is a number from 0 to ${LARGEST}`]);
      else weights[kind][name] = value;
    }
    return { weights, unfit };
  };

  // Two decimals, but never 0.00 for a weight that counts.
  const shown = value => value === 0 || value >= 0.005 ? value.toFixed(2) : value.toPrecision(1);

  // A slider ends where its weight is shown in its place: a link may hold a larger one than MOST.
  const slider = (label, value, change, extra) => {
    const output = el("output", {}, shown(value));
    const most = Math.max(MOST, Math.ceil(value));
    const input = el("input", { type: "range", min: 0, max: most, step: 0.05, value, "aria-label": `Weight of ${label}`, "aria-valuetext": shown(value) });
    input.oninput = () => {
      const weight = Number(input.value);
      output.textContent = shown(weight);
      input.setAttribute("aria-valuetext", shown(weight));
      change(weight);
    };
    return el("label", { class: `slider ${extra ?? ""}` }, el("span", {}, label), input, output);
  };

  ETAB.buildSliders = (holder, board, weights, change) => {
    const presets = el("div", { class: "presets" });
    const preset = (label, make) => presets.append(el("button", { type: "button", onclick: () => press(label, make) }, label));
    // The sheet is drawn anew; the button keeps the focus, so that keys go on from it.
    const press = (label, make) => {
      make();
      ETAB.buildSliders(holder, board, weights, change);
      [...holder.querySelectorAll(".presets button")].find(button => button.textContent === label).focus();
      change();
    };
    preset("Weights of the board", () => Object.assign(weights, ETAB.defaultWeights(board)));
    preset("All tasks alike", () => {
      for (const letter in weights.categories) weights.categories[letter] = board.tasks.filter(task => task.letter === letter).length / board.tasks.length;
      for (const code in weights.tasks) weights.tasks[code] = 1;
      const largest = Math.max(...Object.values(weights.categories));
      for (const letter in weights.categories) weights.categories[letter] /= largest;
    });
    for (const letter in board.categories) {
      preset(`Only ${board.categories[letter]}`, () => { for (const other in weights.categories) weights.categories[other] = other === letter ? 1 : 0; });
    }
    const groups = Object.entries(board.categories).map(([letter, name]) => el("fieldset", {},
      el("legend", {}, name),
      slider(name, weights.categories[letter], value => { weights.categories[letter] = value; change(); }, "main"),
      ...board.tasks.filter(task => task.letter === letter).map(task =>
        slider(`${task.code} ${task.title}`, weights.tasks[task.code], value => { weights.tasks[task.code] = value; change(); }))));
    holder.replaceChildren(
      el("p", { class: "note" }, "The score is the weighted mean over categories of the weighted mean over their tasks. Intervals and rank intervals follow the sliders."),
      presets, el("div", { class: "groups" }, ...groups));
  };
})();
