// Pictures: each takes a holder and plain values, and draws with D3 into one SVG.
"use strict";
(() => {
  const ETAB = window.ETAB;
  const el = ETAB.el;
  const charts = (ETAB.charts = {});

  const canvas = (holder, width, height, label, caption) => {
    const svg = el("svg", { class: "plot", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    holder.replaceChildren(el("figcaption", {}, caption), svg);
    return d3.select(svg);
  };
  const room = (holder, least = 320) => Math.max(least, Math.min(1180, (holder.clientWidth || 900) - 40));
  const nameRoom = (rows, width) => Math.min(width * 0.36, 12 + 6.6 * d3.max(rows, row => ETAB.short(row.name, 34).length));
  // As much of a name as fits on the left of a picture.
  const fitting = (name, left) => ETAB.short(name, Math.max(6, Math.min(34, Math.floor((left - 4) / 6.4))));
  const axisName = (svg, text, left, width, y) => {
    const isNarrow = text.length * 6.4 > width - left;
    svg.append("text").attr("class", isNarrow ? "small" : "label").attr("x", isNarrow ? width - 4 : (left + width) / 2).attr("y", y).attr("text-anchor", isNarrow ? "end" : "middle").text(text);
  };
  const axis = (svg, x, top, bottom, ticks = 6, format) => {
    const made = d3.axisBottom(x).ticks(ticks).tickSize(top - bottom);
    if (format) made.tickFormat(format);
    svg.append("g").attr("transform", `translate(0,${bottom})`).call(made);
  };

  // Rows {name, value, low, high, outerLow, outerHigh, quiet, href}: dots with two intervals.
  charts.intervals = (holder, rows, options) => {
    const width = room(holder);
    const left = nameRoom(rows, width);
    const step = rows.length > 60 ? 14 : 22;
    const height = rows.length * step + 54;
    const svg = canvas(holder, width, height, options.label, options.caption);
    const ends = rows.flatMap(row => [row.outerLow ?? row.low, row.outerHigh ?? row.high, row.value, ...(options.include ?? [])]).filter(Number.isFinite);
    const x = d3.scaleLinear(d3.extent(ends), [left + 10, width - 16]).nice();
    axis(svg, x, 8, height - 40);
    for (const [name, value, cls] of options.lines ?? []) {
      svg.append("line").attr("class", `reference ${cls}`).attr("x1", x(value)).attr("x2", x(value)).attr("y1", 8).attr("y2", height - 40).append("title").text(name);
    }
    axisName(svg, options.axis, left, width, height - 6);
    const lines = svg.selectAll("g.row").data(rows).join("g").attr("class", row => row.quiet ? "quietmark" : null).attr("transform", (_, i) => `translate(0,${8 + step / 2 + i * step})`);
    lines.append("text").attr("x", left).attr("text-anchor", "end").attr("dy", ".35em").attr("class", row => row.quiet ? "small" : null).text(row => fitting(row.name, left));
    const stroke = (cls, low, high) => lines.filter(row => Number.isFinite(low(row))).append("line").attr("class", cls).attr("x1", row => x(low(row))).attr("x2", row => x(high(row)));
    stroke("reach", row => row.outerLow, row => row.outerHigh);
    stroke("whisker", row => row.low, row => row.high);
    lines.append("circle").attr("class", "dot").attr("r", 4).attr("cx", row => x(row.value));
    lines.append("title").text(row => `${ETAB.short(row.name)}: ${ETAB.number(row.value)} (${ETAB.interval(row.low, row.high)})`);
  };

  // Rank intervals: rows {name, low, high, quiet}.
  charts.ranks = (holder, rows, n) => {
    const width = room(holder);
    const left = nameRoom(rows, width);
    const step = rows.length > 60 ? 14 : 22;
    const height = rows.length * step + 54;
    const svg = canvas(holder, width, height, "Rank intervals", "From the best to the worst rank that the differences allow. Two backbones whose bars overlap may still be told apart from each other: the win matrix shows each pair.");
    const x = d3.scaleLinear([1, Math.max(2, n)], [left + 18, width - 20]);
    axis(svg, x, 8, height - 40, Math.min(n, 14), d3.format("d"));
    svg.append("text").attr("class", "label").attr("x", (left + width) / 2).attr("y", height - 6).attr("text-anchor", "middle").text("rank");
    const lines = svg.selectAll("g.row").data(rows).join("g").attr("class", row => row.quiet ? "quietmark" : null).attr("transform", (_, i) => `translate(0,${8 + step / 2 + i * step})`);
    lines.append("text").attr("x", left).attr("text-anchor", "end").attr("dy", ".35em").text(row => fitting(row.name, left));
    lines.append("line").attr("class", "whisker").attr("x1", row => x(row.low) - 4).attr("x2", row => x(row.high) + 4);
    lines.append("title").text(row => `${ETAB.short(row.name)}: rank ${row.low} to ${row.high}`);
  };

  // P(row above column) of all pairs.
  charts.wins = (holder, ranking, names) => {
    const n = Math.min(names.length, 60);
    const width = room(holder);
    const left = Math.min(width * 0.3, 12 + 6.4 * d3.max(names.slice(0, n), name => ETAB.short(name, 30).length));
    const cell = Math.max(11, Math.min(46, (width - left - 10) / n));
    const height = n * cell + 34;
    const svg = canvas(holder, left + n * cell + 10, height, "Probability that the row is above the column", `Probability that the row is above the column as an encoder. Framed: told apart after Holm.${names.length > n ? ` The first ${n} rows.` : ""}`);
    for (let i = 0; i < n; i++) {
      svg.append("text").attr("x", left - 8).attr("y", 24 + (i + 0.5) * cell).attr("dy", ".35em").attr("text-anchor", "end").attr("class", cell < 15 ? "small" : null).text(`${ETAB.short(names[i], 30)}  ${i + 1}`);
      svg.append("text").attr("class", "small").attr("x", left + (i + 0.5) * cell).attr("y", 16).attr("text-anchor", "middle").text(n > 40 && i % 5 ? "" : i + 1);
      for (let j = 0; j < n; j++) {
        if (i === j) continue;
        const pair = ETAB.pair(ranking, i, j);
        const box = svg.append("rect").attr("x", left + j * cell + 1).attr("y", 24 + i * cell + 1).attr("width", cell - 2).attr("height", cell - 2).attr("rx", 3)
          .attr("class", `${pair.p >= 0.5 ? "win" : "loss"} ${pair.apart ? "sure" : ""}`);
        box.node().style.setProperty("--share", (Math.abs(pair.p - 0.5) * 1.3).toFixed(3));
        box.append("title").text(`P(${ETAB.short(names[i], 40)} above ${ETAB.short(names[j], 40)}) = ${pair.p.toFixed(3)}; difference ${ETAB.number(pair.difference)} ± ${ETAB.number(pair.encoder)}${pair.apart ? ", told apart" : ""}`);
        if (cell >= 30) svg.append("text").attr("class", "inside").attr("x", left + (j + 0.5) * cell).attr("y", 24 + (i + 0.5) * cell).attr("dy", ".35em").attr("text-anchor", "middle").text(pair.p.toFixed(2));
      }
    }
  };

  // Groups of neighbours that are not told apart, as bars over the axis of scores.
  charts.difference = (holder, ranking, names) => {
    const n = Math.min(names.length, 40);
    const width = room(holder, 520);
    const groups = [];
    for (let i = 0; i < n; i++) {
      let end = i;
      while (end + 1 < n && d3.range(i, end + 1).every(k => !ETAB.pair(ranking, k, end + 1).apart)) end += 1;
      if (end > i && !groups.some(([, last]) => last >= end)) groups.push([i, end]);
    }
    const half = Math.ceil(n / 2);
    const top = 44 + groups.length * 11;
    const height = top + half * 19 + 20;
    const svg = canvas(holder, width, height, "Critical difference", `Scores on one axis; a bar joins backbones of which no two are told apart (pairwise tests with Holm, not Nemenyi).${names.length > n ? ` The first ${n} rows.` : ""}`);
    const side = Math.min(width * 0.3, 220);
    const points = Float64Array.from(ranking.index, i => ranking.points[i]);
    const x = d3.scaleLinear(d3.extent(points.slice(0, n)), [side + 10, width - side - 10]).nice();
    svg.append("g").attr("transform", "translate(0,26)").call(d3.axisTop(x).ticks(7).tickSize(5));
    groups.forEach(([a, b], k) => svg.append("line").attr("class", "clique").attr("x1", x(points[a]) + 3).attr("x2", x(points[b]) - 3).attr("y1", 36 + k * 11).attr("y2", 36 + k * 11));
    for (let i = 0; i < n; i++) {
      const onRight = i < half;
      const y = top + (onRight ? i : n - 1 - i) * 19 + 8;
      const end = onRight ? width - side : side;
      svg.append("path").attr("class", "leader").attr("d", `M${x(points[i])},26V${y}H${end}`);
      svg.append("text").attr("x", end + (onRight ? 6 : -6)).attr("y", y).attr("dy", ".35em").attr("text-anchor", onRight ? "start" : "end").text(ETAB.short(names[i], 28));
    }
  };

  // Points {name, x, y, low, high, quiet} on a log axis, with the front of the best.
  charts.size = (holder, points, options) => {
    const width = room(holder);
    const height = 430;
    const svg = canvas(holder, width, height, options.label, options.caption);
    if (!points.length) return;
    const [least, most] = d3.extent(points, p => p.x);
    const x = d3.scaleLog([least * 0.8, most * 1.25], [56, width - 150]);
    const y = d3.scaleLinear(d3.extent(points.flatMap(p => [p.low, p.high])), [height - 46, 12]).nice();
    svg.append("g").attr("transform", `translate(0,${height - 46})`).call(d3.axisBottom(x).ticks(5, options.format).tickSize(-height + 58));
    svg.append("g").attr("transform", "translate(56,0)").call(d3.axisLeft(y).ticks(7).tickSize(-width + 206));
    svg.append("text").attr("class", "label").attr("x", width / 2 - 40).attr("y", height - 8).attr("text-anchor", "middle").text(options.x);
    svg.append("text").attr("class", "label").attr("transform", `translate(14,${height / 2}) rotate(-90)`).attr("text-anchor", "middle").text("ETAB");
    let best = -Infinity;
    const cheapFirst = (a, b) => (options.fast ? b.x - a.x : a.x - b.x) || b.y - a.y;
    const front = [...points].sort(cheapFirst).filter(p => { const on = p.y > best; best = Math.max(best, p.y); return on; });
    svg.append("path").attr("class", "front").attr("d", d3.line(p => x(p.x), p => y(p.y)).curve(d3.curveStepAfter)(front));
    const marks = svg.selectAll("g.mark").data(points).join("g").attr("class", p => p.quiet ? "quietmark" : null);
    marks.append("line").attr("class", "reach").attr("x1", p => x(p.x)).attr("x2", p => x(p.x)).attr("y1", p => y(p.low)).attr("y2", p => y(p.high));
    marks.append("circle").attr("class", "dot").attr("r", 5).attr("cx", p => x(p.x)).attr("cy", p => y(p.y));
    marks.append("title").text(p => `${ETAB.short(p.name)}: ${ETAB.number(p.y)}, ${options.words(p.x)}`);
    if (points.length <= 40) marks.append("text").attr("class", "small").attr("x", p => x(p.x) + 8).attr("y", p => y(p.y) - 5).text(p => ETAB.short(p.name, 26)); // above the front
  };

  // Points {x, y, name, cls} over two axes, with straight lines {y, name} or the diagonal.
  const scatter = (holder, points, options) => {
    const width = Math.min(room(holder), 760);
    const height = 400;
    const svg = canvas(holder, width, height, options.label, options.caption);
    const lines = options.lines ?? [];
    const ys = [...points.map(p => p.y), ...lines.map(line => line.y)];
    const ends = options.diagonal ? d3.extent([...points.map(p => p.x), ...ys]) : null;
    const x = d3.scaleLinear(ends ?? d3.extent(points, p => p.x), [58, width - 20]).nice();
    const y = d3.scaleLinear(ends ?? d3.extent(ys), [height - 46, 14]).nice();
    svg.append("g").attr("transform", `translate(0,${height - 46})`).call(d3.axisBottom(x).ticks(6).tickSize(-height + 60));
    svg.append("g").attr("transform", "translate(58,0)").call(d3.axisLeft(y).ticks(7).tickSize(-width + 78));
    svg.append("text").attr("class", "label").attr("x", (width + 40) / 2).attr("y", height - 8).attr("text-anchor", "middle").text(options.x);
    svg.append("text").attr("class", "label").attr("transform", `translate(14,${(height - 32) / 2}) rotate(-90)`).attr("text-anchor", "middle").text(options.y);
    if (options.diagonal) {
      const [from, to] = x.domain();
      svg.append("line").attr("class", "reference twin").attr("x1", x(from)).attr("y1", y(from)).attr("x2", x(to)).attr("y2", y(to));
    }
    for (const line of lines) {
      svg.append("line").attr("class", `reference ${line.cls ?? "twin"}`).attr("x1", 58).attr("x2", width - 20).attr("y1", y(line.y)).attr("y2", y(line.y));
      svg.append("text").attr("class", "small").attr("x", width - 22).attr("y", y(line.y) - 4).attr("text-anchor", "end").text(`${line.name} ${ETAB.number(line.y)}`);
    }
    const marks = svg.selectAll("circle.thing").data(points).join("circle").attr("class", p => `thing ${p.cls ?? ""}`).attr("r", points.length > 400 ? 2.5 : 3.5).attr("cx", p => x(p.x)).attr("cy", p => y(p.y));
    marks.append("title").text(p => `${ETAB.short(p.name, 80)}: ${ETAB.number(p.x)}, ${ETAB.number(p.y)}`);
    return { svg, x, y };
  };
  charts.scatter = scatter;

  // Points {a, b, name}: the difference a - b over the mean, with bias and limits of agreement.
  charts.agreement = (holder, points, options) => {
    const differences = points.map(p => p.a - p.b);
    const bias = d3.mean(differences);
    const spread = 1.96 * (d3.deviation(differences) ?? 0);
    const lines = [{ y: bias, name: "bias" }, { y: bias + spread, name: "upper limit", cls: "control" }, { y: bias - spread, name: "lower limit", cls: "control" }];
    scatter(holder, points.map(p => ({ x: (p.a + p.b) / 2, y: p.a - p.b, name: p.name })), { ...options, lines });
  };

  // Points {p, truth}: observed share over the mean probability of ten groups of equal size.
  charts.calibration = (holder, points, options) => {
    const sorted = [...points].sort((a, b) => a.p - b.p);
    const groups = d3.range(10).map(k => sorted.slice(Math.floor(k * sorted.length / 10), Math.floor((k + 1) * sorted.length / 10))).filter(group => group.length);
    const dots = groups.map(group => {
      const n = group.length;
      const share = d3.mean(group, p => p.truth);
      const z = 1.96;
      const middle = (share + z * z / (2 * n)) / (1 + z * z / n);
      const half = z / (1 + z * z / n) * Math.sqrt(share * (1 - share) / n + z * z / (4 * n * n));
      return { x: d3.mean(group, p => p.p), y: share, low: middle - half, high: middle + half, name: `${n} rows` };
    });
    const { svg, x, y } = scatter(holder, dots, { ...options, diagonal: true });
    const [from, to] = y.domain();
    const inside = value => y(Math.max(from, Math.min(to, value)));
    svg.selectAll("line.reach").data(dots).join("line").attr("class", "reach").attr("x1", p => x(p.x)).attr("x2", p => x(p.x)).attr("y1", p => inside(p.low)).attr("y2", p => inside(p.high));
  };

  charts.histogram = (holder, values, options) => {
    const width = Math.min(room(holder), 760);
    const height = 300;
    const svg = canvas(holder, width, height, options.label, options.caption);
    const x = d3.scaleLinear(d3.extent(values), [46, width - 20]).nice();
    const bins = d3.bin().domain(x.domain()).thresholds(x.ticks(24))(values);
    const y = d3.scaleLinear([0, d3.max(bins, bin => bin.length)], [height - 46, 14]).nice();
    svg.append("g").attr("transform", `translate(0,${height - 46})`).call(d3.axisBottom(x).ticks(8));
    svg.append("g").attr("transform", "translate(46,0)").call(d3.axisLeft(y).ticks(5).tickSize(-width + 66));
    svg.append("text").attr("class", "label").attr("x", width / 2).attr("y", height - 8).attr("text-anchor", "middle").text(options.x);
    svg.selectAll("rect.thing").data(bins).join("rect").attr("class", "thing").attr("x", bin => x(bin.x0) + 1).attr("width", bin => Math.max(0, x(bin.x1) - x(bin.x0) - 2)).attr("y", bin => y(bin.length)).attr("height", bin => y(0) - y(bin.length));
    const middle = d3.median(values);
    svg.append("line").attr("class", "reference twin").attr("x1", x(middle)).attr("x2", x(middle)).attr("y1", 14).attr("y2", height - 46);
    svg.append("text").attr("class", "small").attr("x", x(middle) - 5).attr("y", 24).attr("text-anchor", "end").text(`median ${ETAB.number(middle)}`);
  };

  // Series {name, points: [{x, value, low, high, labels}]} over a log axis of training rows.
  charts.curves = (holder, series, options) => {
    const width = room(holder);
    const height = 420;
    const svg = canvas(holder, width, height, options.label, options.caption);
    const right = width < 560 ? 20 : 190;
    const all = series.flatMap(one => one.points);
    const x = d3.scaleLog(d3.extent(all, p => p.x), [58, width - right]).nice();
    const y = d3.scaleLinear(d3.extent(all.flatMap(p => [p.low, p.high])), [height - 46, 14]).nice();
    svg.append("g").attr("transform", `translate(0,${height - 46})`).call(d3.axisBottom(x).ticks(5, "~s").tickSize(-height + 60));
    svg.append("g").attr("transform", "translate(58,0)").call(d3.axisLeft(y).ticks(7).tickSize(58 - width + right));
    svg.append("text").attr("class", "label").attr("x", (width - right + 58) / 2).attr("y", height - 8).attr("text-anchor", "middle").text("training rows");
    svg.append("text").attr("class", "label").attr("transform", `translate(14,${(height - 32) / 2}) rotate(-90)`).attr("text-anchor", "middle").text(options.y);
    series.forEach((one, k) => {
      const group = svg.append("g");
      group.node().style.setProperty("--series", `var(--c${k % 8})`);
      group.append("path").attr("class", "band").attr("d", d3.area(p => x(p.x), p => y(p.low), p => y(p.high))(one.points));
      group.append("path").attr("class", "series").attr("d", d3.line(p => x(p.x), p => y(p.value))(one.points));
      group.selectAll("circle").data(one.points).join("circle").attr("class", "seriesdot").attr("r", 3.5).attr("cx", p => x(p.x)).attr("cy", p => y(p.value))
        .append("title").text(p => `${ETAB.short(one.name)}, ${p.labels}: ${ETAB.number(p.value)} (${ETAB.interval(p.low, p.high)})`);
      const last = one.points[one.points.length - 1];
      if (right > 20) group.append("text").attr("class", "small").attr("x", x(last.x) + 8).attr("y", y(last.value) + 4).text(ETAB.short(one.name, 26));
    });
    holder.append(el("ul", { class: "key" }, ...series.map((one, k) => el("li", { vars: { series: `var(--c${k % 8})` } }, ETAB.name(one.name, 40)))));
  };
})();
