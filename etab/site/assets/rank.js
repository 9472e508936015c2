// Scores, intervals and rank intervals under any weights, as etab.leaderboard computes them.
"use strict";
(() => {
  const ETAB = window.ETAB;

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

  // Share of each task: weighted mean over categories of the weighted mean over their tasks.
  ETAB.shares = (tasks, weights) => {
    const within = {};
    for (const { code, letter } of tasks) within[letter] = (within[letter] ?? 0) + weights.tasks[code];
    let total = 0;
    for (const [letter, sum] of Object.entries(within)) if (sum > 0) total += weights.categories[letter];
    const shares = {};
    for (const { code, letter } of tasks) {
      const counts = within[letter] > 0 && total > 0;
      shares[code] = counts ? weights.tasks[code] / within[letter] * weights.categories[letter] / total : 0;
    }
    return total > 0 ? shares : null;
  };

  // Weighted sum over tasks of (rows, tasks, width) for the chosen rows: (chosen, width).
  const mix = (values, tasks, width, chosen, weights) => {
    const out = new Float32Array(chosen.length * width);
    for (let i = 0; i < chosen.length; i++) {
      for (let t = 0; t < tasks; t++) {
        const weight = weights[t];
        if (weight === 0) continue;
        const from = (chosen[i] * tasks + t) * width;
        const to = i * width;
        for (let k = 0; k < width; k++) out[to + k] += weight * values[from + k];
      }
    }
    return out;
  };

  // Fold values become a vector whose squared length is their variance within a repeat.
  const foldVectors = (values, group, rows) => {
    const { repeats, n_fold: folds } = group;
    const width = repeats * folds;
    const out = new Float32Array(rows * width);
    if (!group.alike) return out;
    for (let i = 0; i < rows; i++) {
      let used = 0;
      for (let r = 0; r < repeats; r++) {
        const start = i * width + r * folds;
        let count = 0;
        let sum = 0;
        for (let k = start; k < start + folds; k++) if (!Number.isNaN(values[k])) { count += 1; sum += values[k]; }
        if (count < 2) continue;
        used += 1;
        const scale = 1 / Math.sqrt(count - 1);
        for (let k = start; k < start + folds; k++) if (!Number.isNaN(values[k])) out[k] = (values[k] - sum / count) * scale;
      }
      const scale = used ? 1 / Math.sqrt(used) : 0;
      for (let k = i * width; k < (i + 1) * width; k++) out[k] *= scale;
    }
    return out;
  };

  const distance = (vectors, width, i, j) => {
    let sum = 0;
    let a = i * width;
    let b = j * width;
    for (let k = 0; k < width; k++, a++, b++) {
      const gap = vectors[a] - vectors[b];
      sum += gap * gap;
    }
    return sum;
  };

  const squared = (vectors, width, i) => {
    let sum = 0;
    for (let k = i * width; k < (i + 1) * width; k++) sum += vectors[k] * vectors[k];
    return sum;
  };

  class Ranker {
    constructor(board, noise) {
      this.board = board;
      this.noise = noise;
      this.t = noise.t;
      this.groups = noise.groups.map(group => ({
        ...group,
        mean: { width: group.mean.coordinates.shape[2], values: ETAB.unpack(group.mean.coordinates), rest: ETAB.unpack(group.mean.rest) },
        spread: { width: group.spread.coordinates.shape[2], values: ETAB.unpack(group.spread.coordinates), rest: ETAB.unpack(group.spread.rest) },
        folds: ETAB.unpack(group.folds),
      }));
      const byName = new Map(board.rows.map(row => [row.backbone, row]));
      this.rows = noise.rows.map(name => byName.get(name));
      this.anchored = this.rows.map(row => Object.fromEntries(board.tasks.map(task =>
        [task.code, ETAB.anchored(task, row.cells[task.code]?.[0])])));
    }

    // Rows that have every task of the score and were not pretrained on its test data.
    complete(shares) {
      const chosen = [];
      this.rows.forEach((row, i) => {
        const scored = Object.keys(shares).filter(code => shares[code] > 0);
        const wasRanked = row.rank_low != null;
        const seen = !wasRanked && row.marks.seen.some(code => shares[code] > 0);
        if (!seen && scored.every(code => this.has(i, code))) chosen.push(i);
      });
      return chosen;
    }

    has(i, code) {
      for (const group of this.groups) {
        const t = group.tasks.indexOf(code);
        if (t >= 0) return group.present[i][t] === 1;
      }
      return false;
    }

    score(i, shares) {
      let sum = 0;
      for (const code in shares) if (shares[code] > 0) sum += shares[code] * this.anchored[i][code];
      return sum;
    }

    rank(shares) {
      const chosen = this.complete(shares);
      const scores = new Map(chosen.map(i => [i, this.score(i, shares)]));
      chosen.sort((a, b) => scores.get(b) - scores.get(a) || (this.rows[a].backbone < this.rows[b].backbone ? -1 : 1));
      const n = chosen.length;
      const points = Float64Array.from(chosen, i => scores.get(i));
      const own = { patients: new Float64Array(n), encoder: new Float64Array(n) };
      const pairs = { patients: new Float64Array(n * n), encoder: new Float64Array(n * n) };
      let degrees = Infinity;
      for (const dataset of new Set(this.groups.map(group => group.dataset))) {
        const ownSd = { patients: new Float64Array(n), encoder: new Float64Array(n) };
        const pairSd = { patients: new Float64Array(n * n), encoder: new Float64Array(n * n) };
        for (const group of this.groups) {
          if (group.dataset !== dataset) continue;
          const weights = group.tasks.map(code => shares[code] ?? 0);
          if (!weights.some(weight => weight > 0)) continue;
          weights.forEach((weight, t) => { if (weight > 0) degrees = Math.min(degrees, group.degrees[t]); });
          this.add(group, weights, chosen, ownSd, pairSd);
        }
        for (const kind of ["patients", "encoder"]) {
          for (let i = 0; i < n; i++) own[kind][i] += ownSd[kind][i] ** 2;
          for (let k = 0; k < n * n; k++) pairs[kind][k] += pairSd[kind][k] ** 2;
        }
      }
      return this.verdicts(chosen, points, own, pairs, degrees);
    }

    // Standard deviations of groups of one dataset add; variances of datasets do.
    add(group, weights, chosen, ownSd, pairSd) {
      const n = chosen.length;
      const tasks = group.tasks.length;
      const mean = mix(group.mean.values, tasks, group.mean.width, chosen, weights);
      const spread = mix(group.spread.values, tasks, group.spread.width, chosen, weights);
      const width = group.repeats * group.n_fold;
      const folds = foldVectors(mix(group.folds, tasks, width, chosen, weights), group, n);
      const square = weights.map(weight => weight * weight);
      const meanRest = mix(group.mean.rest, tasks, 1, chosen, square);
      const spreadRest = mix(group.spread.rest, tasks, 1, chosen, square);
      const encoder = (patients, between, spreads) => Math.sqrt(group.correction * Math.max(group.n_fold * (patients + spreads), between));
      for (let i = 0; i < n; i++) {
        const patients = squared(mean, group.mean.width, i) + meanRest[i];
        const spreads = squared(spread, group.spread.width, i) + spreadRest[i];
        ownSd.patients[i] += Math.sqrt(patients);
        ownSd.encoder[i] += encoder(patients, squared(folds, width, i), spreads);
        for (let j = 0; j < i; j++) {
          const apart = distance(mean, group.mean.width, i, j) + meanRest[i] + meanRest[j];
          const apartSpread = distance(spread, group.spread.width, i, j) + spreadRest[i] + spreadRest[j];
          pairSd.patients[i * n + j] += Math.sqrt(apart);
          pairSd.encoder[i * n + j] += encoder(apart, distance(folds, width, i, j), apartSpread);
        }
      }
    }

    verdicts(chosen, points, own, pairs, degrees) {
      const n = chosen.length;
      const table = this.t[String(degrees)];
      const digests = chosen.map(i => this.rows[i].weights);
      const isFirst = digests.map((digest, i) => digests.indexOf(digest) === i);
      const ratios = new Float64Array(n * n);
      const family = [];
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < i; j++) {
          const gap = Math.abs(points[i] - points[j]);
          const ratio = gap === 0 ? 0 : gap / Math.sqrt(pairs.encoder[i * n + j]);
          ratios[i * n + j] = ratio;
          if (isFirst[i] && isFirst[j]) family.push(ratio);
        }
      }
      const sorted = Float64Array.from(family).sort().reverse();
      let threshold = Infinity;
      for (let k = 0; k < sorted.length; k++) {
        if (!(sorted[k] > critical(table, sorted.length - k))) break;
        threshold = sorted[k];
      }
      const wins = new Int32Array(n);
      const losses = new Int32Array(n);
      let apart = 0;
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < i; j++) {
          if (digests[i] === digests[j] || ratios[i * n + j] < threshold) continue;
          apart += 1;
          const iAbove = points[i] > points[j];
          wins[iAbove ? i : j] += 1;
          losses[iAbove ? j : i] += 1;
        }
      }
      const rows = new Map();
      chosen.forEach((index, i) => {
        const probe = table ? table.half * Math.sqrt(own.patients[i]) : 0;
        const encoder = table ? table.half * Math.sqrt(own.encoder[i]) : 0;
        rows.set(this.rows[index].backbone, {
          place: i, etab: points[i], low: points[i] - probe, high: points[i] + probe,
          encoder_low: points[i] - encoder, encoder_high: points[i] + encoder,
          rank_low: 1 + losses[i], rank_high: n - wins[i],
        });
      });
      return { n, rows, order: chosen.map(i => this.rows[i].backbone), points, ratios, pairs, threshold, digests, table, apart, tested: n * (n - 1) / 2 };
    }
  }

  // |t| that Holm needs while this many pairs remain.
  const critical = (table, remaining) => {
    const place = Math.log2(remaining) / table.doublings * (table.critical.length - 1);
    const k = Math.min(Math.floor(place), table.critical.length - 2);
    return table.critical[k] + (place - k) * (table.critical[k + 1] - table.critical[k]);
  };

  // Student's t below a value.
  const below = (table, t) => {
    const place = Math.min(Math.abs(t) / table.step, table.cdf.length - 1.001);
    const k = Math.floor(place);
    const p = table.cdf[k] + (place - k) * (table.cdf[k + 1] - table.cdf[k]);
    return t < 0 ? 1 - p : p;
  };

  // P(row i above row j), difference, half widths and verdict of a pair of a ranking.
  ETAB.pair = (ranking, i, j) => {
    const k = Math.max(i, j) * ranking.n + Math.min(i, j);
    const difference = ranking.points[i] - ranking.points[j];
    const t = Math.sign(difference) * ranking.ratios[k];
    return {
      difference,
      p: below(ranking.table, t),
      encoder: ranking.table.half * Math.sqrt(ranking.pairs.encoder[k]),
      probe: ranking.table.half * Math.sqrt(ranking.pairs.patients[k]),
      apart: ranking.digests[i] !== ranking.digests[j] && ranking.ratios[k] >= ranking.threshold,
    };
  };

  ETAB.Ranker = Ranker;
})();
