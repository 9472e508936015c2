// Heart sounds of a backbone: waveform, annotated and predicted states, and a line at the moment that is played.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const ETAB = window.ETAB;
  const el = ETAB.el;
  const LEFT = 64;
  const WAVE = 96; // height of the waveform; strips of states follow below it
  const STRIP = 18;
  const STATES = ["S1", "systole", "S2", "diastole"];
  const sounds = ETAB.data[`backbone/${document.querySelector("h1").dataset.file}`].sounds;

  const draw = (holder, audio, sound) => {
    const WIDTH = Math.max(260, holder.clientWidth || 640);
    const x = seconds => LEFT + seconds / sound.seconds * (WIDTH - LEFT - 2);
    const strips = [["annotated", sound.truth], ...(sound.predicted ? [["predicted", sound.predicted]] : [])];
    const bottom = WAVE + 8 + strips.length * (STRIP + 4);
    const words = sound.predicted ? "annotated and predicted states" : "annotated states";
    const svg = el("svg", { width: WIDTH, height: bottom + 18, viewBox: `0 0 ${WIDTH} ${bottom + 18}`, role: "img", "aria-label": `Waveform of ${sound.seconds.toFixed(1)} seconds over its ${words}` });
    for (const [from, to, state] of sound.truth) svg.append(el("rect", { class: `shade s${state}`, x: x(from), y: 0, width: x(to) - x(from), height: WAVE }));
    const path = sound.low.map((low, i) => {
      const at = x((i + 0.5) / sound.low.length * sound.seconds).toFixed(1);
      const y = value => (WAVE / 2 * (1 - 0.94 * value)).toFixed(1);
      return `M${at},${y(low)}V${y(sound.high[i] + 0.01)}`;
    }).join("");
    svg.append(el("path", { class: "sample", d: path }));
    strips.forEach(([name, runs], row) => {
      const y = WAVE + 8 + row * (STRIP + 4);
      svg.append(el("text", { x: LEFT - 8, y: y + STRIP / 2, "text-anchor": "end", "dominant-baseline": "central" }, name));
      svg.append(el("rect", { class: "strip", x: LEFT, y, width: WIDTH - LEFT - 2, height: STRIP }));
      for (const [from, to, state] of runs) {
        svg.append(el("rect", { class: `state s${state}`, x: x(from), y, width: x(to) - x(from), height: STRIP }, el("title", {}, `${name}: ${STATES[state]}, ${from.toFixed(2)} to ${to.toFixed(2)} s`)));
      }
    });
    for (let second = 0; second <= sound.seconds; second++) {
      const isLast = second > sound.seconds - 0.5;
      svg.append(el("text", { x: x(second), y: bottom + 10, "text-anchor": second === 0 ? "start" : isLast ? "end" : "middle" }, `${second} s`));
    }
    const cursor = el("line", { class: "cursor", x1: LEFT, x2: LEFT, y1: 0, y2: bottom - 4 });
    svg.append(cursor);
    holder.replaceChildren(svg);

    const follow = () => {
      const now = x(Math.min(audio.currentTime, sound.seconds));
      cursor.setAttribute("x1", now);
      cursor.setAttribute("x2", now);
      if (!audio.paused) requestAnimationFrame(follow);
    };
    audio.onplay = follow;
    audio.onseeked = follow;
    holder.onclick = event => {
      const box = svg.getBoundingClientRect();
      const share = ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - 2);
      audio.currentTime = Math.max(0, Math.min(1, share)) * sound.seconds;
      audio.play().catch(() => {}); // a browser may refuse to play: the controls remain
    };
  };
  const drawAll = () => {
    for (const holder of document.querySelectorAll(".wave")) draw(holder, holder.parentElement.querySelector("audio"), sounds[holder.dataset.number]);
  };
  drawAll();
  addEventListener("resize", drawAll);
});
