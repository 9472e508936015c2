// The visible rows and columns as CSV, JSON, Markdown and LaTeX.
"use strict";
(() => {
  const ETAB = window.ETAB;

  // A spreadsheet would run a text that begins like a formula.
  const csvCell = value => {
    let text = value == null ? "" : typeof value === "number" ? String(value) : ETAB.clean(value);
    if (typeof value !== "number" && /^[\s]*[=+\-@]/.test(text)) text = `'${text}`;
    return /[",\n\r;']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = (heads, rows) => [heads, ...rows].map(row => row.map(csvCell).join(",")).join("\n") + "\n";

  const show = value => value == null ? "" : typeof value === "number" ? ETAB.number(value) : ETAB.clean(value);
  const markdownCell = value => show(value)
    .replace(/[\\`*_{}[\]()#+!|~]/g, "\\$&").replaceAll("<", "&lt;");
  const markdown = (heads, rows) => [heads, heads.map(() => "---"), ...rows]
    .map((row, i) => `| ${row.map(value => i === 1 ? value : markdownCell(value)).join(" | ")} |`).join("\n") + "\n";

  const TEX = { "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%", "_": "\\_", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}" };
  const texCell = value => show(value).replace(/[\\{}$&#%_^~]/g, sign => TEX[sign]);
  const latex = (heads, rows) => [
    `\\begin{tabular}{l${"r".repeat(heads.length - 1)}}`, "\\hline",
    `${heads.map(texCell).join(" & ")} \\\\`, "\\hline",
    ...rows.map(row => `${row.map(texCell).join(" & ")} \\\\`), "\\hline", "\\end{tabular}", "",
  ].join("\n");

  // JSON keeps names as they are; signs that could change what a terminal shows are escaped.
  const escaped = sign => [...Array(sign.length).keys()].map(k => `\\u${sign.charCodeAt(k).toString(16).padStart(4, "0")}`).join("");
  const json = (heads, rows, about) => JSON.stringify({
    ...about, rows: rows.map(row => Object.fromEntries(heads.map((head, i) => [head, row[i] ?? null]))),
  }, null, 1).replace(/[\p{Cf}\p{Zl}\p{Zp}\u007f-\u009f]/gu, escaped);

  ETAB.EXPORTS = {
    csv: { label: "CSV", type: "text/csv", write: csv },
    json: { label: "JSON", type: "application/json", write: json },
    md: { label: "Markdown", type: "text/markdown", write: markdown },
    tex: { label: "LaTeX", type: "application/x-tex", write: latex },
  };
})();
