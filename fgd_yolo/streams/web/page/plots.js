"use strict";

// The last minutes of a stream, as the page saw them. `find`, `write`, `number` and `age` are of page.js.
const HISTORY_S = 300;
const SHORTEST_S = 30;

function remember(card, stream) {
  const now = Date.now() / 1000;
  const last = stream && (stream.ages.sink_done?.p95_ms ?? stream.ages.infer_end?.p95_ms);
  card.history.push({ time: now, fps: stream ? stream.fps : null, age: stream ? last : null });
  while (card.history[0].time < now - HISTORY_S) card.history.shift();
  plot(card, "fps", (peak) => number(peak, 1));
  plot(card, "age", (peak) => `${age(peak)} ms`);
}

function plot(card, key, words) {
  const canvas = find(`[data-plot=${key}]`, card.element);
  const values = card.history.map((point) => point[key]).filter((value) => value != null);
  const peak = Math.max(...values, 0);
  const now = card.history.at(-1).time;
  const span = Math.max(now - card.history[0].time, SHORTEST_S);
  const past = span < 90 ? `${Math.round(span)} s` : `${Math.round(span / 60)} min`;
  const label = values.length ? `max ${words(peak)}, ${past}` : "";
  write(find(`[data-peak=${key}]`, card.element), label);
  canvas.setAttribute("aria-label", `${key}, ${label}`);
  const scale = window.devicePixelRatio;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const brush = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  brush.setTransform(scale, 0, 0, scale, 0, 0);
  brush.clearRect(0, 0, width, height);
  brush.strokeStyle = style.getPropertyValue("--accent");
  brush.fillStyle = style.getPropertyValue("--fill");
  brush.lineWidth = 1.5;
  const across = (point) => width - ((now - point.time) / span) * width;
  const up = (point) => height - 1 - (point[key] / (peak || 1)) * (height - 6);
  for (const run of runs(card.history, key)) {
    brush.beginPath();
    for (const point of run) brush.lineTo(across(point), up(point));
    brush.stroke();
    brush.lineTo(across(run.at(-1)), height);
    brush.lineTo(across(run[0]), height);
    brush.fill();
  }
}

// A plot is broken where nothing was known: no value, or no server.
function runs(history, key) {
  const found = [];
  let before = null;
  for (const point of history) {
    if (point[key] != null) {
      if (!before || point.time - before.time > 5) found.push([]);
      found.at(-1).push(point);
    }
    before = point[key] == null ? null : point;
  }
  return found;
}
