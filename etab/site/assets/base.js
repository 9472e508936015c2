// What every page uses: elements, numbers, names, the theme, and loading of data files.
"use strict";
(() => {
  const ETAB = (window.ETAB ??= {});
  ETAB.data ??= {};
  const SVG = "http://www.w3.org/2000/svg";
  const SVG_TAGS = new Set(["svg", "g", "line", "rect", "circle", "path", "text", "title", "polyline", "polygon"]);

  // Attributes that a reader sees or hears.
  const SHOWN = new Set(["title", "aria-label", "alt"]);

  // Text reaches the page as text nodes and attributes only, so that no name can become markup,
  // and without signs that change the text around them.
  // Styles go through the object model, because the policy of the page forbids style attributes.
  ETAB.el = (tag, attributes, ...children) => {
    const isSvg = SVG_TAGS.has(tag);
    const element = isSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value == null || value === false) continue;
      if (name.startsWith("on")) element[name] = value;
      else if (name === "vars") for (const [key, v] of Object.entries(value)) element.style.setProperty(`--${key}`, v);
      else element.setAttribute(name, value === true ? "" : SHOWN.has(name) ? ETAB.clean(value) : value);
    }
    element.append(...children.filter(child => child != null && child !== false).map(child => child instanceof Node ? child : ETAB.clean(child)));
    return element;
  };

  // As many decimals as etab.leaderboard.summary.number_words writes.
  ETAB.number = value => {
    if (value == null || !Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    const text = size >= 999.5 ? Math.round(value).toLocaleString("en") : value.toFixed(size >= 2 ? 2 : 3);
    return text.replace(/^-(?=[0.]+$)/, ""); // no minus before a zero
  };
  // A whole number, with commas between its thousands.
  ETAB.whole = count => count.toLocaleString("en");
  ETAB.counted = (count, noun) => `${ETAB.whole(count)} ${noun}${count === 1 ? "" : "s"}`;
  ETAB.interval = (low, high) => low == null ? "–" : `${ETAB.number(low)} to ${ETAB.number(high)}`;
  ETAB.params = count => {
    if (count == null) return "–";
    if (count === 0) return "0";
    if (count >= 1e6) return `${(count / 1e6).toFixed(count >= 1e8 ? 0 : 1)} M`;
    return `${(count / 1e3).toFixed(0)} k`;
  };

  ETAB.capital = text => text.slice(0, 1).toUpperCase() + text.slice(1);

  // A metric with the unit that its values have on a task.
  ETAB.withUnit = (words, task, metric) => [words, ETAB.own(task.metric_units, metric)].filter(Boolean).join(", ");

  // A value of the metric of a task, with its unit.
  ETAB.measured = (value, task) => [ETAB.number(value), ETAB.own(task.metric_units, task.metric)].filter(Boolean).join(" ");

  ETAB.anchored = (task, value) => value == null ? null : (value - task.low) / (task.high - task.low);

  // Controls, directions and escape codes are replaced, as etab.storage.text does it; long names are
  // cut. A joiner stays between two symbols, of which it makes one emoji: elsewhere it is not seen.
  const UNSAFE = /(?!(?<=[\p{So}\p{Sk}\ufe0f])\u200d(?=\p{So}))[^ \p{L}\p{M}\p{N}\p{P}\p{S}]/u;
  // What a font draws as nothing, but for a selector behind a symbol or before a keycap.
  ETAB.UNSEEN = /[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\u{e0100}-\u{e01ef}]/u;
  const SELECTED = /(?<=\p{S})[\ufe0e\ufe0f]|[\ufe0e\ufe0f]\u20e3/u;
  const REPLACED = new RegExp(`${UNSAFE.source}|(?!${SELECTED.source})${ETAB.UNSEEN.source}`, "gu");
  ETAB.clean = text => String(text).replace(REPLACED, "\ufffd");
  ETAB.short = (text, most = 72) => {
    const letters = [...ETAB.clean(text)];
    return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : letters.join("");
  };
  ETAB.name = (text, most) => ETAB.el("bdi", {}, ETAB.short(text, most));
  // A long name that breaks after a sign between its words, not inside a word.
  ETAB.brokenName = (text, most) => {
    const parts = ETAB.short(text, most).split(/(?<=[_/.:-])/);
    return ETAB.el("bdi", {}, ...parts.flatMap((part, k) => k ? [document.createElement("wbr"), part] : [part]));
  };

  // What an object holds under a name, and not what every object has, such as "constructor".
  ETAB.own = (object, name) => object != null && Object.hasOwn(object, name) ? object[name] : undefined;

  ETAB.root = () => document.body.dataset.root;
  ETAB.page = (kind, file) => `${ETAB.root()}${kind}/${encodeURIComponent(file)}.html`;

  // Rows that set a reference and are no candidates: controls and random twins.
  ETAB.isReference = row => row.kind === "control" || row.kind === "random twin";

  const REFERENCE_LINES = [["control", "Dotted line: best control."], ["random twin", "Dashed line: best random twin."]];
  // What the lines of a board are: only of kinds that it has.
  ETAB.lineWords = board => REFERENCE_LINES.filter(([kind]) => board.rows.some(row => row.kind === kind)).map(([, words]) => words).join(" ");

  // On a narrow screen each row of a plain table is a list: its cells state their columns, and
  // roles keep it a table for a screen reader.
  const ROLES = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };
  ETAB.labelled = table => {
    const heads = [...(table.tHead?.rows[0]?.cells ?? [])].map(head => head.textContent);
    for (const part of [table, ...table.querySelectorAll("thead, tbody, tr, td")]) part.setAttribute("role", ROLES[part.tagName]);
    for (const head of table.querySelectorAll("th")) head.setAttribute("role", head.scope === "col" ? "columnheader" : "rowheader");
    for (const row of table.querySelectorAll("tbody tr")) [...row.cells].forEach((cell, k) => { if (heads[k]) cell.dataset.label = heads[k]; });
  };

  // A table that goes on beyond its edge fades out there.
  ETAB.fadeEdge = wrap => {
    const mark = () => wrap.classList.toggle("goes-on", wrap.scrollLeft + wrap.clientWidth < wrap.scrollWidth - 1);
    wrap.addEventListener("scroll", mark, { passive: true });
    const watch = new ResizeObserver(mark);
    for (const watched of [wrap, ...wrap.children]) watch.observe(watched);
  };

  // Arrays come as float16 in base64, with a scale.
  let halves = null;
  const halfTable = () => {
    if (halves) return halves;
    halves = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits++) {
      const sign = bits & 0x8000 ? -1 : 1;
      const exponent = (bits >> 10) & 31;
      const fraction = bits & 1023;
      if (exponent === 0) halves[bits] = sign * fraction * 2 ** -24;
      else if (exponent === 31) halves[bits] = fraction ? NaN : sign * Infinity;
      else halves[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    }
    return halves;
  };

  ETAB.unpack = pack => {
    const text = atob(pack.data);
    const values = new Float32Array(text.length / 2);
    const table = halfTable();
    for (let i = 0; i < values.length; i++) {
      values[i] = table[text.charCodeAt(2 * i) | (text.charCodeAt(2 * i + 1) << 8)] * pack.scale;
    }
    return values;
  };

  // Predictions of a task are loaded when a reader chooses it.
  const loading = new Map();
  ETAB.load = key => {
    if (!loading.has(key)) {
      loading.set(key, new Promise((resolve, reject) => {
        const path = key.split("/").map(encodeURIComponent).join("/");
        const script = ETAB.el("script", { src: `${ETAB.root()}data/${path}.js` });
        script.onload = () => resolve(ETAB.data[key]);
        script.onerror = () => reject(new Error(`${path} could not be read`));
        document.head.append(script);
      }));
    }
    return loading.get(key);
  };

  ETAB.download = (name, type, text) => {
    const link = ETAB.el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.onclick = event => event.stopPropagation(); // a sheet that is open stays open
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  // The theme of an address holds for the pages that are opened from it; one that was chosen by the
  // button holds from then on.
  const THEMES = ["system", "light", "dark"];
  const KEY = "etab-theme";
  const stored = name => { try { return window[name].getItem(KEY); } catch { return null; } }; // storage may be closed
  const store = (name, value) => { try { window[name].setItem(KEY, value); } catch { /* the choice lasts for this page */ } };
  const wanted = new URLSearchParams(location.search).get("theme");
  if (THEMES.includes(wanted)) store("sessionStorage", wanted);
  const unfitTheme = wanted == null || THEMES.includes(wanted) ? [] : [["theme", wanted, "no theme"]];
  let theme = [wanted, stored("sessionStorage"), stored("localStorage")].find(one => THEMES.includes(one)) ?? "system";
  const withTheme = value => {
    const address = new URL(location.href);
    address.searchParams.delete("theme");
    if (value !== "system") address.searchParams.set("theme", value);
    return address.href;
  };
  const applyTheme = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${theme}`;
  };
  applyTheme();
  document.documentElement.classList.add("js");

  // What an address keeps of a view. A heading, as in "#cite", is none.
  ETAB.view = (hash = location.hash) => new URLSearchParams(hash.includes("=") ? hash.slice(1) : "");
  // A link to what the page shows, and to the results that it shows. A theme that the reader chose
  // is part of it; the address bar leaves it to whoever opens it.
  ETAB.link = () => {
    const address = new URL(withTheme(theme));
    const view = ETAB.view(address.hash);
    view.set("board", ETAB.data.board.digest);
    address.hash = view.toString();
    return address.href;
  };
  // The results that a link was made for stay in the address while its view changes.
  ETAB.keepBoard = kept => {
    const named = ETAB.view().get("board");
    if (named) kept.set("board", named);
  };
  ETAB.tellOtherBoard = () => {
    const named = ETAB.view().get("board");
    const { digest } = ETAB.data.board;
    const text = document.getElementById("other-board");
    text.hidden = !named || named === digest;
    text.textContent = text.hidden ? "" : `The link was made for other results (${ETAB.short(named, 12)}) than those of this page (${digest}): ranks and numbers can differ from those that its sender saw.`;
  };
  // Of a link, a part that the page cannot use is named on it: a reader would otherwise take another
  // view for the one that was sent. Every reader of the address gives the keys that it reads, and
  // the parts that do not fit as [key, value, why].
  const MOST_TOLD = 6;
  const quoted = text => `“${ETAB.short(text, 40)}”`;
  const readers = new Map([["results", { keys: ["board"], unfit: [] }]]);
  let link = ETAB.view(); // of the link that was opened last; the address changes with the view
  ETAB.openLink = () => { link = ETAB.view(); return link; };
  ETAB.tellUnfit = (reader, keys, unfit) => {
    readers.set(reader, { keys, unfit });
    const all = [...readers.values()];
    const given = [...new Set(link.keys())];
    const unknown = given.filter(key => !all.some(one => one.keys.includes(key)));
    const twice = given.filter(key => key !== "pick" && !unknown.includes(key) && link.getAll(key).length > 1);
    const parts = [
      ...all.flatMap(one => one.unfit).map(([key, value, why]) => `${key} ${quoted(value)}: ${why}`),
      ...twice.map(key => `${key}: given more than once, the first one counts`),
      ...unknown.map(key => `${quoted(key)}: no part of a view`),
    ];
    const more = parts.length - MOST_TOLD;
    const text = document.getElementById("unfit");
    text.hidden = !parts.length;
    text.textContent = text.hidden ? "" : `Parts of the link do not fit this page, so that its view is not the one that was sent. ${parts.slice(0, MOST_TOLD).join("; ")}${more > 0 ? `; and ${ETAB.whole(more)} more` : ""}.`;
  };
  // Copies a text; where the browser lets no page do so, the button says what to do.
  ETAB.copy = async (button, text, otherwise) => {
    const label = button.textContent;
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { button.textContent = otherwise; }
    setTimeout(() => { button.textContent = label; }, 1800);
  };

  addEventListener("load", () => ETAB.tellUnfit("theme", [], unfitTheme));
  document.addEventListener("DOMContentLoaded", () => {
    applyTheme();
    document.getElementById("theme").onclick = () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      for (const name of ["sessionStorage", "localStorage"]) store(name, theme);
      if (location.search.includes("theme=")) history.replaceState(null, "", withTheme("system"));
      applyTheme();
      document.dispatchEvent(new CustomEvent("etab-theme"));
    };
    for (const table of document.querySelectorAll("table.plain")) ETAB.labelled(table);
    for (const button of document.querySelectorAll("[data-link]")) button.onclick = () => {
      ETAB.writeAddress();
      ETAB.copy(button, ETAB.link(), "Copy it from the address bar");
    };
    for (const wrap of document.querySelectorAll(".wrap")) ETAB.fadeEdge(wrap);
    // One open sheet at a time; Escape and a click elsewhere close it.
    const drops = [...document.querySelectorAll("details.drop")];
    document.addEventListener("click", event => {
      if (!event.target.isConnected) return; // a button that drew its sheet anew
      for (const drop of drops) if (!drop.contains(event.target)) drop.open = false;
    });
    document.addEventListener("keydown", event => {
      if (event.key !== "Escape") return;
      for (const drop of drops) if (drop.open) { drop.open = false; drop.querySelector("summary").focus(); }
    });
  });
})();
