"use strict";

// Plots of a stream's last minutes, as received by this page. `find`, `setText`, `formatNumber` and `formatAge` are in page.js.
const HISTORY_S = 300;
const MIN_SPAN_S = 30;

function addToHistory(card, stream) {
  const now = Date.now() / 1000;
  const ageMs = stream && (stream.ages.sink_done?.p95_ms ?? stream.ages.infer_end?.p95_ms);
  card.history.push({ time: now, fps: stream ? stream.fps : null, age: stream ? ageMs : null });
  while (card.history[0].time < now - HISTORY_S) card.history.shift();
  plot(card, "fps", (peak) => formatNumber(peak, 1));
  plot(card, "age", (peak) => `${formatAge(peak)} ms`);
}

function plot(card, key, format) {
  const canvas = find(`[data-plot=${key}]`, card.element);
  const values = card.history.map((point) => point[key]).filter((value) => value != null);
  const peak = Math.max(...values, 0);
  const now = card.history.at(-1).time;
  const span = Math.max(now - card.history[0].time, MIN_SPAN_S);
  const duration = span < 90 ? `${Math.round(span)} s` : `${Math.round(span / 60)} min`;
  const label = values.length ? `max ${format(peak)}, ${duration}` : "";
  setText(find(`[data-peak=${key}]`, card.element), label);
  canvas.setAttribute("aria-label", `${key}, ${label}`);
  const scale = window.devicePixelRatio;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.strokeStyle = style.getPropertyValue("--accent");
  context.fillStyle = style.getPropertyValue("--fill");
  context.lineWidth = 1.5;
  const toX = (point) => width - ((now - point.time) / span) * width;
  const toY = (point) => height - 1 - (point[key] / (peak || 1)) * (height - 6);
  for (const segment of segments(card.history, key)) {
    context.beginPath();
    for (const point of segment) context.lineTo(toX(point), toY(point));
    context.stroke();
    context.lineTo(toX(segment.at(-1)), height);
    context.lineTo(toX(segment[0]), height);
    context.fill();
  }
}

// A plot is interrupted where there is no value, or where the server was not connected.
function segments(history, key) {
  const result = [];
  let previous = null;
  for (const point of history) {
    if (point[key] != null) {
      if (!previous || point.time - previous.time > 5) result.push([]);
      result.at(-1).push(point);
    }
    previous = point[key] == null ? null : point;
  }
  return result;
}
