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

  // Width of a text in pixels, in the font of the page.
  const pen = document.createElement("canvas").getContext("2d");
  const widthOf = (text, size = 12) => {
    pen.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
    return pen.measureText(text).width;
  };
  // Names stand on the left of their lines; on a narrow screen, long ones stand above them.
  const LONGEST = 60;
  const ABOVE = 14;
  const nameRoom = (rows, width) => {
    const widest = 10 + d3.max(rows, row => widthOf(ETAB.short(row.name, LONGEST)));
    const above = width < 560 && widest > width * 0.4;
    return { above, left: above ? 0 : Math.min(width * 0.4, widest), more: above ? ABOVE : 0, width };
  };
  const writeNames = (lines, { above, left, width }, middle = 0) => lines.append("text").attr("x", above ? 2 : left).attr("y", above ? middle - ABOVE : middle).attr("text-anchor", above ? "start" : "end").attr("dy", ".35em").attr("class", row => row.quiet ? "small" : "name").text(row => fitting(row.name, above ? width - 4 : left));
  // As much of a name as there is room for.
  const fitting = (name, left) => {
    let most = LONGEST;
    while (most > 4 && widthOf(ETAB.short(name, most)) > left - 2) most -= 1;
    return ETAB.short(name, most);
  };
  const axisName = (svg, text, left, width, y) => {
    const isNarrow = widthOf(text) > width - left;
    const line = svg.append("text").attr("class", isNarrow ? "small" : "label").attr("x", isNarrow ? width - 4 : (left + width) / 2).attr("y", y).attr("text-anchor", isNarrow ? "end" : "middle").text(text);
    if (isNarrow && widthOf(text, 11) > width - 8) line.attr("textLength", width - 8).attr("lengthAdjust", "spacingAndGlyphs");
  };
  // As many ticks as have room for their numbers.
  const axis = (svg, x, top, bottom, ticks = 6, format) => {
    const [from, to] = x.range();
    const made = d3.axisBottom(x).ticks(Math.max(2, Math.min(ticks, Math.floor((to - from) / 52)))).tickSize(top - bottom);
    if (format) made.tickFormat(format);
    svg.append("g").attr("transform", `translate(0,${bottom})`).call(made);
  };

  // Rows {name, value, low, high, outerLow, outerHigh, quiet, dots}: dots with two intervals, and
  // small circles {x, title} beside them.
  charts.intervals = (holder, rows, options) => {
    if (!rows.length) {
      holder.replaceChildren(el("p", { class: "note" }, `No visible row has values for this picture. ${options.caption}`));
      return;
    }
    const width = room(holder);
    const place = nameRoom(rows, width);
    const { left, more } = place;
    const step = (rows.length > 60 ? 14 : 22) + more;
    const height = rows.length * step + 54;
    const svg = canvas(holder, width, height, options.label, options.caption);
    const ends = rows.flatMap(row => [row.outerLow ?? row.low, row.outerHigh ?? row.high, row.value, ...(row.dots ?? []).map(dot => dot.x), ...(options.include ?? [])]).filter(Number.isFinite);
    const x = d3.scaleLinear(d3.extent(ends), [left + 10, width - 16]).nice();
    axis(svg, x, 8, height - 40);
    for (const [name, value, cls] of options.lines ?? []) {
      svg.append("line").attr("class", `reference ${cls}`).attr("x1", x(value)).attr("x2", x(value)).attr("y1", 8).attr("y2", height - 40).append("title").text(name);
    }
    axisName(svg, options.axis, left, width, height - 6);
    const lines = svg.selectAll("g.row").data(rows).join("g").attr("class", row => row.quiet ? "quietmark" : null).attr("transform", (_, i) => `translate(0,${8 + (step + more) / 2 + i * step})`);
    writeNames(lines, place);
    const stroke = (cls, low, high) => lines.filter(row => Number.isFinite(low(row))).append("line").attr("class", cls).attr("x1", row => x(low(row))).attr("x2", row => x(high(row)));
    stroke("reach", row => row.outerLow, row => row.outerHigh);
    stroke("whisker", row => row.low, row => row.high);
    // A circle could hide a dot: beside circles, a tick marks the value.
    lines.filter(row => !row.dots).append("circle").attr("class", "dot").attr("r", 4).attr("cx", row => x(row.value));
    lines.filter(row => row.dots).append("line").attr("class", "tickmark").attr("x1", row => x(row.value)).attr("x2", row => x(row.value)).attr("y1", -8).attr("y2", 8);
    lines.selectAll("circle.ring").data(row => row.dots ?? []).join("circle").attr("class", "ring").attr("r", 3.5).attr("cx", dot => x(dot.x)).append("title").text(dot => dot.title);
    lines.append("title").text(row => `${ETAB.short(row.name)}: ${ETAB.number(row.value)} (${ETAB.interval(row.low, row.high)})`);
  };

  // Rank intervals: rows {name, low, high, quiet}.
  charts.ranks = (holder, rows, n) => {
    const width = room(holder);
    const place = nameRoom(rows, width);
    const { left, more } = place;
    const step = (rows.length > 60 ? 14 : 22) + more;
    const height = rows.length * step + 54;
    const svg = canvas(holder, width, height, "Rank intervals", "From the best to the worst rank that the differences allow. Two backbones whose bars overlap may still be told apart from each other: the win matrix shows each pair.");
    const x = d3.scaleLinear([1, Math.max(2, n)], [left + 18, width - 20]);
    axis(svg, x, 8, height - 40, Math.min(n, 14), d3.format("d"));
    svg.append("text").attr("class", "label").attr("x", (left + width) / 2).attr("y", height - 6).attr("text-anchor", "middle").text("rank");
    const lines = svg.selectAll("g.row").data(rows).join("g").attr("class", row => row.quiet ? "quietmark" : null).attr("transform", (_, i) => `translate(0,${8 + (step + more) / 2 + i * step})`);
    writeNames(lines, place);
    lines.append("line").attr("class", "whisker").attr("x1", row => x(row.low) - 4).attr("x2", row => x(row.high) + 4);
    lines.append("title").text(row => `${ETAB.short(row.name)}: rank ${row.low} to ${row.high}`);
  };

  // No pair is certain: a probability that rounds to 0 or 1 is given as a bound.
  const shareWords = p => p > 0.995 ? ">.99" : p < 0.005 ? "<.01" : p.toFixed(2);

  // P(row above column) of all pairs.
  charts.wins = (holder, ranking, names) => {
    const n = Math.min(names.length, 60);
    const width = room(holder);
    const left = Math.min(width * 0.36, 44 + d3.max(names.slice(0, n), name => widthOf(ETAB.short(name, 30))));
    const cell = Math.max(11, Math.min(46, (width - left - 10) / n));
    const height = n * cell + 34;
    const svg = canvas(holder, left + n * cell + 10, height, "Probability that the row is above the column", `Probability that the row is above the column as an encoder. Framed: told apart after Holm.${names.length > n ? ` The first ${n} rows.` : ""}`);
    for (let i = 0; i < n; i++) {
      svg.append("text").attr("x", left - 32).attr("y", 24 + (i + 0.5) * cell).attr("dy", ".35em").attr("text-anchor", "end").attr("class", cell < 15 ? "small" : null).text(fitting(names[i], left - 34));
      svg.append("text").attr("class", "small").attr("x", left - 8).attr("y", 24 + (i + 0.5) * cell).attr("dy", ".35em").attr("text-anchor", "end").text(i + 1);
      svg.append("text").attr("class", "small").attr("x", left + (i + 0.5) * cell).attr("y", 16).attr("text-anchor", "middle").text(n > 40 && i % 5 ? "" : i + 1);
      for (let j = 0; j < n; j++) {
        if (i === j) continue;
        const pair = ETAB.pair(ranking, i, j);
        const box = svg.append("rect").attr("x", left + j * cell + 1).attr("y", 24 + i * cell + 1).attr("width", cell - 2).attr("height", cell - 2).attr("rx", 3)
          .attr("class", `${pair.p >= 0.5 ? "win" : "loss"} ${pair.apart ? "sure" : ""}`);
        box.node().style.setProperty("--share", (Math.abs(pair.p - 0.5) * 1.3).toFixed(3));
        box.append("title").text(`P(${ETAB.short(names[i], 40)} above ${ETAB.short(names[j], 40)}) = ${pair.p.toFixed(3)}; difference ${ETAB.number(pair.difference)} ± ${ETAB.number(pair.encoder)}${pair.apart ? ", told apart" : ""}`);
        if (cell >= 30) svg.append("text").attr("class", "inside").attr("x", left + (j + 0.5) * cell).attr("y", 24 + (i + 0.5) * cell).attr("dy", ".35em").attr("text-anchor", "middle").text(shareWords(pair.p));
      }
    }
  };

  // Groups of neighbours that are not told apart, as bars over the axis of scores.
  charts.difference = (holder, ranking, names) => {
    const n = Math.min(names.length, 40);
    const width = room(holder);
    const isNarrow = width < 560;
    const groups = [];
    for (let i = 0; i < n; i++) {
      let end = i;
      while (end + 1 < n && d3.range(i, end + 1).every(k => !ETAB.pair(ranking, k, end + 1).apart)) end += 1;
      if (end > i && !groups.some(([, last]) => last >= end)) groups.push([i, end]);
    }
    // On a narrow screen all names stand on the right, so that none is cut.
    const half = isNarrow ? n : Math.ceil(n / 2);
    const top = 44 + groups.length * 11;
    const height = top + half * 19 + 20;
    const svg = canvas(holder, width, height, "Critical difference", `Scores on one axis; a bar joins backbones of which no two are told apart (pairwise tests with Holm, not Nemenyi).${names.length > n ? ` The first ${n} rows.` : ""}`);
    const side = isNarrow ? width * 0.55 : Math.min(width * 0.3, 220);
    const left = isNarrow ? 0 : side;
    const points = Float64Array.from(ranking.index, i => ranking.points[i]);
    const x = d3.scaleLinear(d3.extent(points.slice(0, n)), [left + 10, width - side - 10]).nice();
    svg.append("g").attr("transform", "translate(0,26)").call(d3.axisTop(x).ticks(isNarrow ? 2 : 7).tickSize(5));
    groups.forEach(([a, b], k) => svg.append("line").attr("class", "clique").attr("x1", x(points[a]) + 3).attr("x2", x(points[b]) - 3).attr("y1", 36 + k * 11).attr("y2", 36 + k * 11));
    for (let i = 0; i < n; i++) {
      const onRight = i < half;
      const y = top + (onRight ? i : n - 1 - i) * 19 + 8;
      const end = onRight ? width - side : side;
      svg.append("path").attr("class", "leader").attr("d", `M${x(points[i])},26V${y}H${end}`);
      svg.append("text").attr("x", end + (onRight ? 6 : -6)).attr("y", y).attr("dy", ".35em").attr("text-anchor", onRight ? "start" : "end").text(ETAB.short(names[i], 28)).append("title").text(ETAB.short(names[i]));
    }
  };

  // Places for labels beside their dots: each takes the first position that covers the least of
  // lines, dots and labels that are placed already.
  const POSITIONS = [[8, -6, "start"], [8, 14, "start"], [-8, -6, "end"], [-8, 14, "end"], [8, -20, "start"], [8, 28, "start"], [-8, -20, "end"], [-8, 28, "end"], [8, -34, "start"], [8, 42, "start"]];
  const placed = (dots, obstacles, [right, bottom]) => {
    const taken = [...obstacles];
    return dots.map(({ x, y, text }) => {
      const wide = widthOf(text, 11);
      let best = null;
      for (const [dx, dy, anchor] of POSITIONS) {
        const left = anchor === "start" ? x + dx : x + dx - wide;
        const box = [left, y + dy - 10, left + wide, y + dy + 3];
        const covered = d3.sum(taken, other => Math.max(0, Math.min(box[2], other[2]) - Math.max(box[0], other[0]) + 2) * Math.max(0, Math.min(box[3], other[3]) - Math.max(box[1], other[1]) + 1));
        const outside = Math.max(0, 56 - box[0]) + Math.max(0, box[2] - right) + Math.max(0, 4 - box[1]) + Math.max(0, box[3] - bottom);
        const cost = covered + 40 * outside;
        if (!best || cost < best.cost) best = { cost, box, x: x + dx, y: y + dy, anchor };
        if (cost === 0) break;
      }
      taken.push(best.box);
      return best;
    });
  };

  // Points {name, x, y, low, high, quiet} on a log axis, with the front of the best.
  charts.size = (holder, points, options) => {
    const width = room(holder);
    const height = 430;
    const bottom = height - 46;
    const svg = canvas(holder, width, height, options.label, options.caption);
    if (!points.length) return;
    const [least, most] = d3.extent(points, p => p.x);
    const x = d3.scaleLog([least * 0.8, most * 1.25], [56, width - (width < 560 ? 20 : 90)]);
    const y = d3.scaleLinear(d3.extent(points.flatMap(p => [p.low, p.high])), [bottom, 12]).nice();
    svg.append("g").attr("transform", `translate(0,${bottom})`).call(d3.axisBottom(x).ticks(width < 560 ? 3 : 5, options.format).tickSize(-height + 58));
    svg.append("g").attr("transform", "translate(56,0)").call(d3.axisLeft(y).ticks(7).tickSize(56 - x.range()[1]));
    svg.append("text").attr("class", "label").attr("x", (56 + x.range()[1]) / 2).attr("y", height - 8).attr("text-anchor", "middle").text(options.x);
    svg.append("text").attr("class", "label").attr("transform", `translate(14,${height / 2}) rotate(-90)`).attr("text-anchor", "middle").text("ETAB");
    let best = -Infinity;
    const cheapFirst = (a, b) => (options.fast ? b.x - a.x : a.x - b.x) || b.y - a.y;
    const front = [...points].sort(cheapFirst).filter(p => { const on = p.y > best; best = Math.max(best, p.y); return on; });
    svg.append("path").attr("class", "front").attr("d", d3.line(p => x(p.x), p => y(p.y)).curve(d3.curveStepAfter)(front));
    // A random twin costs what its backbone costs: it stands beside it, not on it.
    const loud = new Set(points.filter(p => !p.quiet).map(p => p.x));
    const across = p => x(p.x) + (p.quiet && loud.has(p.x) ? 7 : 0);
    const marks = svg.selectAll("g.mark").data(points).join("g").attr("class", p => p.quiet ? "quietmark" : null);
    marks.append("line").attr("class", "reach").attr("x1", across).attr("x2", across).attr("y1", p => y(p.low)).attr("y2", p => y(p.high));
    marks.append("circle").attr("class", "dot").attr("r", 5).attr("cx", across).attr("cy", p => y(p.y));
    marks.append("title").text(p => `${ETAB.short(p.name)}: ${ETAB.number(p.y)}, ${options.words(p.x)}`);
    if (points.length > 40) return;
    const steps = d3.pairs(front).flatMap(([a, b]) => [[x(a.x), y(a.y), x(b.x), y(a.y)], [x(b.x), y(a.y), x(b.x), y(b.y)]]).map(([x1, y1, x2, y2]) => [Math.min(x1, x2) - 1, Math.min(y1, y2) - 1, Math.max(x1, x2) + 1, Math.max(y1, y2) + 1]);
    const drawn = points.flatMap(p => [[across(p) - 1, y(p.high), across(p) + 1, y(p.low)], [across(p) - 6, y(p.y) - 6, across(p) + 6, y(p.y) + 6]]);
    const texts = points.map(p => ({ x: across(p), y: y(p.y), text: ETAB.short(p.name, width < 560 ? 18 : 26) }));
    const labels = placed(texts, [...steps, ...drawn], [width - 2, bottom]);
    marks.append("text").attr("class", "small").attr("x", (_, k) => labels[k].x).attr("y", (_, k) => labels[k].y).attr("text-anchor", (_, k) => labels[k].anchor).text((_, k) => texts[k].text);
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
    svg.append("g").attr("transform", `translate(0,${height - 46})`).call(d3.axisBottom(x).ticks(6).tickSize(-height + 60).tickPadding(8));
    svg.append("g").attr("transform", "translate(58,0)").call(d3.axisLeft(y).ticks(7).tickSize(-width + 78));
    svg.append("text").attr("class", "label").attr("x", (width + 40) / 2).attr("y", height - 8).attr("text-anchor", "middle").text(options.x);
    svg.append("text").attr("class", "label").attr("transform", `translate(14,${(height - 32) / 2}) rotate(-90)`).attr("text-anchor", "middle").text(options.y);
    if (options.diagonal) {
      const [from, to] = x.domain();
      svg.append("line").attr("class", "reference twin").attr("x1", x(from)).attr("y1", y(from)).attr("x2", x(to)).attr("y2", y(to));
    }
    for (const line of lines) {
      svg.append("line").attr("class", `reference ${line.cls ?? "twin"}`).attr("x1", 58).attr("x2", width - 20).attr("y1", y(line.y)).attr("y2", y(line.y));
    }
    const marks = svg.selectAll("circle.thing").data(points).join("circle").attr("class", p => `thing ${p.cls ?? ""}`).attr("r", points.length > 400 ? 2.5 : 3.5).attr("cx", p => x(p.x)).attr("cy", p => y(p.y));
    marks.append("title").text(p => `${ETAB.short(p.name, 80)}: ${ETAB.number(p.x)}, ${ETAB.number(p.y)}`);
    // Words stand on top of the dots, and no two on each other.
    let former = Infinity;
    for (const line of [...lines].sort((a, b) => a.y - b.y)) {
      former = Math.min(y(line.y) - 4, former - 13);
      svg.append("text").attr("class", "small").attr("x", width - 22).attr("y", former).attr("text-anchor", "end").text(`${line.name} ${ETAB.number(line.y)}`);
    }
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
      return { x: d3.mean(group, p => p.p), y: share, low: middle - half, high: middle + half, name: ETAB.counted(n, "row") };
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
    svg.append("g").attr("transform", "translate(46,0)").call(d3.axisLeft(y).tickValues(y.ticks(5).filter(Number.isInteger)).tickFormat(d3.format(",")).tickSize(-width + 66)); // whole frames
    svg.append("text").attr("class", "label").attr("x", width / 2).attr("y", height - 8).attr("text-anchor", "middle").text(options.x);
    svg.selectAll("rect.thing").data(bins).join("rect").attr("class", "thing").attr("x", bin => x(bin.x0) + 1).attr("width", bin => Math.max(0, x(bin.x1) - x(bin.x0) - 2)).attr("y", bin => y(bin.length)).attr("height", bin => y(0) - y(bin.length));
    const middle = d3.median(values);
    svg.append("line").attr("class", "reference twin").attr("x1", x(middle)).attr("x2", x(middle)).attr("y1", 14).attr("y2", height - 46);
    svg.append("text").attr("class", "small").attr("x", x(middle) - 5).attr("y", 24).attr("text-anchor", "end").text(`median ${ETAB.number(middle)}`);
  };

  // Rows {name, parts: [{value, low, high, n} or null]}: a line for each part of each row.
  charts.groups = (holder, rows, names, options) => {
    const width = room(holder);
    const place = nameRoom(rows, width);
    const { left, more } = place;
    const step = 12 * names.length + 12 + more;
    const height = rows.length * step + 54;
    const svg = canvas(holder, width, height, options.label, options.caption);
    const parts = rows.flatMap(row => row.parts).filter(part => part?.value != null);
    const x = d3.scaleLinear(d3.extent(parts.flatMap(part => [part.low, part.high, part.value]).filter(Number.isFinite)), [left + 10, width - 16]).nice();
    axis(svg, x, 8, height - 40);
    axisName(svg, options.axis, left, width, height - 6);
    const lines = svg.selectAll("g.row").data(rows).join("g").attr("transform", (_, i) => `translate(0,${8 + i * step})`);
    lines.append("line").attr("class", "axis").attr("x1", 0).attr("x2", width).attr("y1", 0).attr("y2", 0);
    writeNames(lines, place, place.above ? ABOVE + 9 : step / 2);
    const marks = lines.selectAll("g.part").data(row => row.parts.map((part, k) => ({ ...part, k, row: row.name })).filter(part => part.value != null)).join("g").attr("class", "part").attr("transform", part => `translate(0,${12 + more + part.k * 12})`);
    marks.each(function paint(part) { this.style.setProperty("--series", `var(--c${part.k % 8})`); });
    marks.filter(part => Number.isFinite(part.low)).append("line").attr("class", "seriesline").attr("x1", part => x(part.low)).attr("x2", part => x(part.high));
    marks.append("circle").attr("class", "seriesdot").attr("r", 4).attr("cx", part => x(part.value));
    marks.append("title").text(part => `${ETAB.short(part.row)}, ${ETAB.short(names[part.k])}: ${ETAB.number(part.value)} (${ETAB.interval(part.low, part.high)}), ${ETAB.counted(part.n, options.unit)}`);
    holder.append(el("ul", { class: "key" }, ...names.map((name, k) => el("li", { vars: { series: `var(--c${k % 8})` } }, ETAB.name(name, 40), options.counts[k]))));
  };

  // Names beside the ends of their lines, moved apart so that none covers another.
  const spread = (places, least, [top, bottom]) => {
    const order = d3.range(places.length).sort((i, j) => places[i] - places[j]);
    const moved = [...places];
    order.forEach((i, k) => { if (k) moved[i] = Math.max(moved[i], moved[order[k - 1]] + least); });
    let limit = bottom;
    for (const i of order.reverse()) { moved[i] = Math.max(top, Math.min(moved[i], limit)); limit = moved[i] - least; }
    return moved;
  };

  // Series {name, base, points: [{x, value, low, high, labels}]} over a log axis of training rows. A
  // random twin has the colour of its base, and a dashed line. The series in `loud` have their bands;
  // a click on a name of the key changes them.
  charts.curves = (holder, series, options, loud = new Set(series.slice(0, 2).map(one => one.name))) => {
    const width = room(holder);
    const height = 420;
    const bottom = height - 46;
    const isNarrow = width < 560;
    const svg = canvas(holder, width, height, options.label, options.caption);
    const right = isNarrow ? 16 : 190;
    const all = series.flatMap(one => one.points);
    const [least, most] = d3.extent(all, p => p.x);
    const x = d3.scaleLog([least / 1.12, most * 1.12], [58, width - right]);
    const shown = series.flatMap(one => one.points.flatMap(p => loud.has(one.name) ? [p.value, p.low, p.high] : [p.value]));
    const y = d3.scaleLinear(d3.extent(shown), [bottom, 14]).nice();
    const spots = [...new Set(all.map(p => Math.round(p.x)))].sort((a, b) => a - b).filter((spot, k, list) => !k || x(spot) - x(list[k - 1]) > (isNarrow ? 30 : 24));
    svg.append("g").attr("transform", `translate(0,${bottom})`).call(d3.axisBottom(x).tickValues(spots).tickFormat(d3.format(",")).tickSize(-height + 60).tickPadding(8));
    svg.append("g").attr("transform", "translate(58,0)").call(d3.axisLeft(y).ticks(7).tickSize(58 - width + right));
    svg.append("text").attr("class", "label").attr("x", (width - right + 58) / 2).attr("y", height - 6).attr("text-anchor", "middle").text("training rows");
    svg.append("text").attr("class", "label").attr("transform", `translate(14,${height / 2}) rotate(-90)`).attr("text-anchor", "middle").text(options.y);
    const bases = [...new Set(series.map(one => one.base))];
    const colour = one => `var(--c${bases.indexOf(one.base) % 8})`;
    const names = spread(series.map(one => y(one.points[one.points.length - 1].value)), 13, [14, bottom]);
    series.forEach((one, k) => {
      const group = svg.append("g").attr("class", loud.has(one.name) ? null : "faint");
      group.node().style.setProperty("--series", colour(one));
      if (loud.has(one.name)) group.append("path").attr("class", "band").attr("d", d3.area(p => x(p.x), p => y(p.low), p => y(p.high))(one.points));
      group.append("path").attr("class", one.name === one.base ? "series" : "series dashed").attr("d", d3.line(p => x(p.x), p => y(p.value))(one.points));
      group.selectAll("circle").data(one.points).join("circle").attr("class", "seriesdot").attr("r", loud.has(one.name) ? 3.5 : 2.5).attr("cx", p => x(p.x)).attr("cy", p => y(p.value))
        .append("title").text(p => `${ETAB.short(one.name)}, ${p.labels}: ${ETAB.number(p.value)} (${ETAB.interval(p.low, p.high)})`);
      if (!isNarrow) svg.append("text").attr("class", "small").attr("x", width - right + 8).attr("y", names[k] + 4).text(fitting(one.name, right - 10));
    });
    const toggle = name => {
      const next = new Set(loud);
      if (!next.delete(name)) next.add(name);
      const controls = holder.querySelector(".controls");
      charts.curves(holder, series, options, next);
      if (controls) holder.prepend(controls);
      [...holder.querySelectorAll(".key button")].find(button => button.dataset.name === name)?.focus();
    };
    holder.append(el("ul", { class: "key" }, ...series.map(one => el("li", { vars: { series: colour(one) } }, el("button", { type: "button", class: "ghost", "data-name": one.name, "aria-pressed": String(loud.has(one.name)), onclick: () => toggle(one.name) }, ETAB.name(one.name, 40))))));
  };
})();
