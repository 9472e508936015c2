// Scores, intervals and rank intervals under any weights, as etab.leaderboard computes them.
"use strict";
(() => {
  const ETAB = window.ETAB;

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

  // Adds the weighted sum over tasks of (rows, tasks, width) for the chosen rows to a matrix.
  const mixInto = (out, stride, offset, values, tasks, width, chosen, weights) => {
    for (let i = 0; i < chosen.length; i++) {
      const to = i * stride + offset;
      for (let t = 0; t < tasks; t++) {
        const weight = weights[t];
        if (weight === 0) continue;
        const from = (chosen[i] * tasks + t) * width;
        for (let k = 0; k < width; k++) out[to + k] += weight * values[from + k];
      }
    }
    return out;
  };
  const mix = (values, tasks, width, chosen, weights) =>
    mixInto(new Float64Array(chosen.length * width), width, 0, values, tasks, width, chosen, weights);

  // One matrix for the mean over repeats and for what repeats differ by, side by side.
  const mixPeople = ({ mean, spread, tasks }, chosen, weights) => {
    const stride = mean.width + spread.width;
    const people = new Float64Array(chosen.length * stride);
    mixInto(people, stride, 0, mean.values, tasks.length, mean.width, chosen, weights);
    mixInto(people, stride, mean.width, spread.values, tasks.length, spread.width, chosen, weights);
    return people;
  };

  // Squared distances of all pairs of n rows. Four rows at a time share what is read of a fifth one.
  const distances = (vectors, width, n) => {
    const out = new Float64Array(n * (n - 1) / 2);
    for (let i = 1, k = 0; i < n; i++) {
      const a = i * width;
      let j = 0;
      for (; j + 3 < i; j += 4, k += 4) {
        let b = j * width;
        let s0 = 0;
        let s1 = 0;
        let s2 = 0;
        let s3 = 0;
        for (let c = a; c < a + width; c++, b++) {
          const own = vectors[c];
          const d0 = own - vectors[b];
          const d1 = own - vectors[b + width];
          const d2 = own - vectors[b + 2 * width];
          const d3 = own - vectors[b + 3 * width];
          s0 += d0 * d0;
          s1 += d1 * d1;
          s2 += d2 * d2;
          s3 += d3 * d3;
        }
        out[k] = s0;
        out[k + 1] = s1;
        out[k + 2] = s2;
        out[k + 3] = s3;
      }
      for (; j < i; j++, k++) out[k] = distance(vectors, width, width, i, j);
    }
    return out;
  };

  // Squared distance of two rows of a matrix in its first columns.
  const distance = (vectors, stride, width, i, j) => {
    let sum = 0;
    for (let k = 0; k < width; k++) {
      const gap = vectors[i * stride + k] - vectors[j * stride + k];
      sum += gap * gap;
    }
    return sum;
  };

  const squared = (vectors, stride, width, i) => {
    let sum = 0;
    for (let k = i * stride; k < i * stride + width; k++) sum += vectors[k] * vectors[k];
    return sum;
  };

  // Place of the pair of i and j in an array of all pairs.
  const pairAt = (i, j) => i > j ? i * (i - 1) / 2 + j : j * (j - 1) / 2 + i;

  const product = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
  const CLOSE = 1e-9; // how far weights may be from a combination of others, as a share of their length
  const FAR = 1e3; // longest parts of a combination, as a multiple of the weights themselves

  // Factors by which known weights add up to others; null where they do not.
  const combination = (weights, known) => {
    if (!known.length) return null;
    const [a, b] = known;
    let factors = [product(weights, a) / product(a, a)];
    if (b) {
      const [aa, ab, bb] = [product(a, a), product(a, b), product(b, b)];
      const [wa, wb] = [product(weights, a), product(weights, b)];
      const area = aa * bb - ab * ab;
      factors = [(wa * bb - wb * ab) / area, (wb * aa - wa * ab) / area];
    }
    const length = Math.sqrt(product(weights, weights));
    const rest = weights.map((weight, t) => weight - factors.reduce((sum, factor, k) => sum + factor * known[k][t], 0));
    const parts = factors.map((factor, k) => Math.abs(factor) * Math.sqrt(product(known[k], known[k])));
    const isClose = Math.sqrt(product(rest, rest)) <= CLOSE * length && Math.max(...parts) <= FAR * length;
    return isClose ? factors : null;
  };

  // Squared distances of all pairs of rows of a group of tasks. They are quadratic in the weights: those of two
  // weights and of their sum give those of every combination. A slider moves all weights within such a
  // plane, so that its first two steps are computed from all directions, and the others from three numbers a pair.
  class Distances {
    constructor(group, n) {
      this.group = group;
      this.rows = [...Array(n).keys()];
      this.known = []; // two weights at most, with their distances
      this.sum = null; // distances for the sum of the two
      this.latest = null;
    }

    measured(weights) {
      const width = this.group.mean.width + this.group.spread.width;
      return distances(mixPeople(this.group, this.rows, weights), width, this.rows.length);
    }

    of(weights) {
      let factors = combination(weights, this.known.map(one => one.weights));
      if (!factors) {
        this.known = [...(this.latest ? [this.latest] : []), { weights, distances: this.measured(weights) }];
        this.sum = null;
        factors = this.known.map((_, k) => k === this.known.length - 1 ? 1 : 0);
      }
      this.latest = { weights, distances: this.combined(factors) };
      return this.latest.distances;
    }

    combined(factors) {
      const used = [...factors.keys()].filter(k => factors[k] !== 0);
      if (used.length === 1) {
        const square = factors[used[0]] ** 2;
        const { distances: only } = this.known[used[0]];
        return square === 1 ? only : only.map(value => square * value);
      }
      const [a, b] = this.known;
      this.sum ??= this.measured(a.weights.map((weight, t) => weight + b.weights[t]));
      // (f a + g b)^2 = f (f - g) a^2 + g (g - f) b^2 + f g (a + b)^2
      const [f, g] = factors;
      const [first, second, both] = [f * (f - g), g * (g - f), f * g];
      const out = new Float64Array(this.sum.length);
      for (let k = 0; k < out.length; k++) out[k] = Math.max(0, first * a.distances[k] + second * b.distances[k] + both * this.sum[k]);
      return out;
    }
  }

  // Order of code points, as Python sorts names.
  const compareNames = (a, b) => {
    const ones = [...a];
    const others = [...b];
    for (let k = 0; k < Math.min(ones.length, others.length); k++) {
      const gap = ones[k].codePointAt(0) - others[k].codePointAt(0);
      if (gap !== 0) return gap;
    }
    return ones.length - others.length;
  };

  // Variances of the tasks of one group under given weights, for chosen rows and for their pairs.
  class Mixed {
    constructor(group, weights, chosen) {
      this.weights = weights;
      this.chosen = chosen;
      const tasks = group.tasks.length;
      const square = weights.map(weight => weight * weight);
      const scored = [...weights.keys()].filter(t => weights[t] > 0);
      const { mean, spread } = group;
      this.group = group;
      this.n = chosen.length;
      this.stride = mean.width + spread.width;
      this.people = mixPeople(group, chosen, weights);
      this.meanRest = mix(mean.rest, tasks, 1, chosen, square);
      this.added = mix(group.added.flat(), tasks, 1, chosen, square);
      this.rest = mix(spread.rest, tasks, 1, chosen, square).map((rest, i) => rest + this.meanRest[i]);
      // As in etab.metrics.inference: the largest factor of a task that counts, and that of the
      // best row for all pairs.
      const largest = (factors, i) => Math.max(...scored.map(t => factors[i][t]));
      this.valueFactors = chosen.map(i => largest(group.value_factors, i));
      this.differenceFactor = chosen.length ? largest(group.difference_factors, chosen[0]) : 1;
    }

    ownPatients(i) {
      return squared(this.people, this.stride, this.group.mean.width, i) + this.meanRest[i];
    }

    ownEncoder(i) {
      const people = squared(this.people, this.stride, this.stride, i) + this.rest[i];
      const betweenDivisions = people - this.ownPatients(i);
      const ofScores = Math.max(this.valueFactors[i] * people, people + this.group.divisions * betweenDivisions);
      return ofScores + this.added[i];
    }

    patients(i, j) {
      return distance(this.people, this.stride, this.group.mean.width, i, j) + this.meanRest[i] + this.meanRest[j];
    }

    // Variance of the difference of the encoders, for all pairs.
    encoders() {
      const people = this.group.distances.of(this.weights);
      const out = new Float64Array(this.n * (this.n - 1) / 2);
      for (let i = 1, k = 0; i < this.n; i++) {
        for (let j = 0; j < i; j++, k++) {
          const far = people[pairAt(this.chosen[i], this.chosen[j])];
          out[k] = this.differenceFactor * (far + this.rest[i] + this.rest[j]);
        }
      }
      return out;
    }
  }

  class Ranker {
    constructor(board, noise) {
      this.board = board;
      this.t = noise.t;
      this.groups = noise.groups.map(group => ({
        ...group,
        mean: { width: group.mean.coordinates.shape[2], values: ETAB.unpack(group.mean.coordinates), rest: ETAB.unpack(group.mean.rest) },
        spread: { width: group.spread.coordinates.shape[2], values: ETAB.unpack(group.spread.coordinates), rest: ETAB.unpack(group.spread.rest) },
      }));
      for (const group of this.groups) group.distances = new Distances(group, noise.rows.length);
      const byName = new Map(board.rows.map(row => [row.backbone, row]));
      this.rows = noise.rows.map(name => byName.get(name));
      this.present = new Map(this.groups.flatMap(group => group.tasks.map((code, t) => [code, group.present.map(row => row[t] === 1)])));
      this.anchored = new Map(board.tasks.map(task => [task.code, this.rows.map(row => ETAB.anchored(task, row.cells[task.code]?.[0]))]));
      this.withSeen = board.rows.some(row => row.rank_low != null && row.marks.seen.length > 0);
    }

    // Rows that have every task of the score. Those pretrained on data of any test of the board
    // take no rank, as in Python, whatever the weight of that test.
    // A comparison of two rows wants them as well.
    complete(scored, withSeen) {
      const chosen = [];
      this.rows.forEach((row, i) => {
        const isSeen = row.marks.seen.length > 0 && !withSeen;
        if (!isSeen && scored.every(code => this.present.get(code)?.[i])) chosen.push(i);
      });
      return chosen;
    }

    rank(shares, withSeen = this.withSeen) {
      const scored = this.board.tasks.map(task => task.code).filter(code => shares[code] > 0);
      const chosen = this.complete(scored, withSeen);
      const scores = new Map(chosen.map(i => [i, scored.reduce((sum, code) => sum + shares[code] * this.anchored.get(code)[i], 0)]));
      chosen.sort((a, b) => scores.get(b) - scores.get(a) || compareNames(this.rows[a].backbone, this.rows[b].backbone));
      const points = Float64Array.from(chosen, i => scores.get(i));
      const parts = new Map();
      let degrees = Infinity;
      for (const group of this.groups) {
        const weights = group.tasks.map(code => shares[code] ?? 0);
        if (!weights.some(weight => weight > 0)) continue;
        weights.forEach((weight, t) => { if (weight > 0) degrees = Math.min(degrees, group.degrees[t]); });
        parts.set(group.dataset, [...(parts.get(group.dataset) ?? []), new Mixed(group, weights, chosen)]);
      }
      return this.verdicts(chosen, points, [...parts.values()], this.t[String(degrees)]);
    }

    verdicts(chosen, points, parts, table) {
      const n = chosen.length;
      const digests = chosen.map(i => this.rows[i].weights);
      const variances = pairVariances(parts, n);
      const ratios = new Float64Array(variances.length);
      for (let i = 0, k = 0; i < n; i++) {
        for (let j = 0; j < i; j++, k++) {
          const gap = Math.abs(points[i] - points[j]);
          ratios[k] = gap === 0 ? 0 : gap / Math.sqrt(variances[k]);
        }
      }
      const { apart, pairs, tests } = toldApart(ratios, digests, table);
      const wins = new Int32Array(n);
      const losses = new Int32Array(n);
      let count = 0;
      for (let i = 0, k = 0; i < n; i++) {
        for (let j = 0; j < i; j++, k++) {
          if (!apart[k]) continue;
          count += 1;
          wins[points[i] > points[j] ? i : j] += 1;
          losses[points[i] > points[j] ? j : i] += 1;
        }
      }
      const rows = new Map();
      const sum = (method, i) => overDatasets(parts, part => part[method](i));
      chosen.forEach((index, i) => {
        const probe = table.half * Math.sqrt(sum("ownPatients", i));
        const encoder = table.half * Math.sqrt(sum("ownEncoder", i));
        rows.set(this.rows[index].backbone, {
          place: i, etab: points[i], low: points[i] - probe, high: points[i] + probe,
          encoder_low: points[i] - encoder, encoder_high: points[i] + encoder,
          rank_low: 1 + losses[i], rank_high: n - wins[i],
        });
      });
      const probeVariance = (i, j) => overDatasets(parts, part => part.patients(i, j));
      const index = chosen.map((_, i) => i);
      return { n, rows, index, order: chosen.map(i => this.rows[i].backbone), points, ratios, variances, apart, table, count, pairs, tests, probeVariance };
    }
  }

  // Variances of datasets add; standard deviations of the groups of one dataset do.
  const overDatasets = (parts, variance) => {
    let total = 0;
    for (const groups of parts) {
      if (groups.length === 1) total += variance(groups[0]);
      else total += groups.reduce((sum, group) => sum + Math.sqrt(variance(group)), 0) ** 2;
    }
    return total;
  };

  const pairVariances = (parts, n) => {
    const total = new Float64Array(n * (n - 1) / 2);
    for (const groups of parts) {
      const variances = groups.map(group => group.encoders());
      for (let k = 0; k < total.length; k++) {
        if (variances.length === 1) {
          total[k] += variances[0][k];
          continue;
        }
        let deviation = 0;
        for (const variance of variances) deviation += Math.sqrt(variance[k]);
        total[k] += deviation * deviation;
      }
    }
    return total;
  };

  // Holm over the family of tests: all pairs of entries, one entry for each digest of weights.
  const toldApart = (ratios, digests, table) => {
    const n = digests.length;
    const firstOf = new Map();
    digests.forEach((digest, i) => { if (!firstOf.has(digest)) firstOf.set(digest, i); });
    const first = digests.map(digest => firstOf.get(digest));
    const tests = firstOf.size * (firstOf.size - 1) / 2;
    const values = new Float64Array(tests);
    for (let i = 0, k = 0, next = 0; i < n; i++) {
      for (let j = 0; j < i; j++, k++) if (first[i] === i && first[j] === j) values[next++] = ratios[k];
    }
    const needed = holmThreshold(values, table);
    const heads = [...firstOf.values()];
    const isLikeFirst = digests.map((_, i) => first[i] === i || heads.every(k => k === first[i] || ratios[pairAt(i, k)] === ratios[pairAt(first[i], k)]));
    const apart = new Uint8Array(ratios.length);
    let pairs = 0;
    for (let i = 0, k = 0; i < n; i++) {
      for (let j = 0; j < i; j++, k++) {
        if (first[i] === first[j]) continue;
        pairs += 1;
        if (isLikeFirst[i] && isLikeFirst[j]) apart[k] = ratios[k] > needed ? 1 : 0;
        else apart[k] = ofCopies(i, j, ratios, first, heads, table) ? 1 : 0;
      }
    }
    return { apart, pairs, tests };
  };

  // The verdict of a pair in a family in which i and j replace the first entries of their weights.
  const ofCopies = (i, j, ratios, first, heads, table) => {
    const members = [...heads.filter(k => k !== first[i] && k !== first[j]), i, j];
    const values = new Float64Array(members.length * (members.length - 1) / 2);
    for (let a = 0, next = 0; a < members.length; a++) {
      for (let b = 0; b < a; b++) values[next++] = ratios[pairAt(members[a], members[b])];
    }
    return ratios[pairAt(i, j)] > holmThreshold(values, table);
  };

  // |t| that a pair must exceed. Holm's steps without a sort: all pairs that pass at one step leave
  // fewer tests, and so a lower threshold, for the next one.
  const holmThreshold = (values, table) => {
    let passed = 0;
    for (;;) {
      if (passed === values.length) return passed ? critical(table, 1) : Infinity;
      const threshold = critical(table, values.length - passed);
      let count = 0;
      for (let k = 0; k < values.length; k++) if (values[k] > threshold) count += 1;
      if (count === passed) return threshold;
      passed = count;
    }
  };

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
    const a = ranking.index[i];
    const b = ranking.index[j];
    const k = pairAt(a, b);
    const difference = ranking.points[a] - ranking.points[b];
    return {
      difference,
      p: below(ranking.table, Math.sign(difference) * ranking.ratios[k]),
      encoder: ranking.table.half * Math.sqrt(ranking.variances[k]),
      probe: ranking.table.half * Math.sqrt(ranking.probeVariance(a, b)),
      apart: ranking.apart[k] === 1,
    };
  };

  // The rows of a ranking with these names, in their order.
  ETAB.someOf = (ranking, names) => {
    const index = ranking.index.filter(i => names.has(ranking.order[i]));
    return { ...ranking, n: index.length, index, order: index.map(i => ranking.order[i]) };
  };

  ETAB.toldApart = toldApart;
  ETAB.Ranker = Ranker;
})();
