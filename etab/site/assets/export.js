// The visible rows and columns as CSV, JSON, Markdown and LaTeX.
"use strict";
(() => {
  const ETAB = window.ETAB;

  // A spreadsheet would run a text that begins like a formula, as in etab.storage.text.
  const csvCell = value => {
    let text = value == null ? "" : typeof value === "number" ? String(value) : ETAB.clean(value);
    if (typeof value !== "number") text = text.replace(/(^|;)(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])/g, "$1'");
    return /[",\n\r;']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  // Every line of a CSV file states whether its data are made and its weights are the board's.
  const csv = ({ heads, rows }, about) => {
    const marks = [about.phantom ? "phantom" : "patients", about.own_weights || "of the board"];
    return [[...heads, "data", "weights"], ...rows.map(row => [...row, ...marks])].map(row => row.map(csvCell).join(",")).join("\n") + "\n";
  };

  // Lines that stand above a table: its title, which warns of a phantom, and other weights.
  const remarks = about => [
    `${about.title}; suite version ${about.suite_version}, ${about.protocol}, seed ${about.seed}`,
    ...(about.own_weights ? [`Other weights than those of the board: ${about.own_weights}. Ranks, scores and intervals are not the published ones.`] : []),
  ].map(ETAB.clean);

  const show = (value, isWhole) => {
    if (value == null) return "";
    if (typeof value === "number") return isWhole ? String(value) : ETAB.number(value);
    return ETAB.clean(value);
  };
  const markdownText = text => text.replace(/[\\`*_{}[\]()#+!|~$]/g, "\\$&").replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const markdown = ({ heads, rows, whole }, about) => [
    ...remarks(about).flatMap(line => [`**${markdownText(line)}**`, ""]),
    ...[heads.map(markdownText), heads.map(() => "---"), ...rows.map(row => row.map((value, k) => markdownText(show(value, whole.has(k)))))].map(row => `| ${row.join(" | ")} |`), "",
  ].join("\n");

  // A table of LaTeX is read on a page: long names are cut, and a sign that pdfLaTeX cannot set
  // without a package is a question mark. JSON keeps all names whole.
  const LONGEST = 60;
  const KNOWN_TO_TEX = /[ -~\u00a1-\u00aa\u00ac-\u00ba\u00bc-\u00cf\u00d1-\u00dd\u00df-\u00ef\u00f1-\u00fd\u00ff–—‘’“”…]/;
  const TEX = { "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%", "_": "\\_", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}", "`": "{`}", "…": "\\ldots{}" };
  // After the end of a row, LaTeX would read [ and * as options of that end, and two hyphens as a dash.
  const texText = (text, most = LONGEST) => [...ETAB.short(text.normalize("NFC"), most)].map(sign => TEX[sign] ?? (KNOWN_TO_TEX.test(sign) ? sign : "?")).join("").replace(/-(?=-)/g, "-{}");
  const texCell = (value, isWhole) => {
    const text = texText(show(value, isWhole));
    // In text, LaTeX sets a hyphen where a number has a minus.
    return typeof value === "number" && text.startsWith("-") ? `$-$${text.slice(1)}` : text;
  };
  // Columns of numbers are aligned on the right, and those of words on the left.
  const texColumns = ({ heads, rows }) => heads.map((_, k) => rows.some(row => typeof row[k] === "number") ? "r" : "l").join("");
  const latex = ({ heads, rows, whole }, about) => [
    "% Signs that pdfLaTeX cannot set are question marks. A wide table fits a page within",
    "% \\resizebox{\\linewidth}{!}{...} of the package graphicx.",
    `\\begin{tabular}{${texColumns({ heads, rows })}}`,
    ...remarks(about).map(line => `\\multicolumn{${heads.length}}{l}{\\textbf{${texText(line, 200)}}} \\\\`), "\\hline",
    `${heads.map(head => texText(head)).join(" & ")} \\\\`, "\\hline",
    ...rows.map(row => `${row.map((value, k) => texCell(value, whole.has(k))).join(" & ")} \\\\`), "\\hline", "\\end{tabular}", "",
  ].join("\n");

  // JSON keeps names as they are; signs that could change what a terminal shows are escaped.
  const escaped = sign => [...Array(sign.length).keys()].map(k => `\\u${sign.charCodeAt(k).toString(16).padStart(4, "0")}`).join("");
  const json = ({ heads, rows }, { own_weights, ...about }) => JSON.stringify({
    ...about, rows: rows.map(row => Object.fromEntries(heads.map((head, i) => [head, row[i] ?? null]))),
  }, null, 1).replace(new RegExp(`[\\p{Cf}\\p{Zl}\\p{Zp}\\u007f-\\u009f]|${ETAB.UNSEEN.source}`, "gu"), escaped);

  ETAB.EXPORTS = {
    csv: { label: "CSV", type: "text/csv", write: csv },
    json: { label: "JSON", type: "application/json", write: json },
    md: { label: "Markdown", type: "text/markdown", write: markdown },
    tex: { label: "LaTeX", type: "application/x-tex", write: latex },
  };
})();
