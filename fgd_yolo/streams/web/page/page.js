"use strict";

const TIMEOUT_MS = 4000; // the server sends its status once a second
const FRAME_PERIOD_MS = 50;
const STAGES = { decoded: "decoded", infer_start: "inference start", infer_end: "inference end", sink_done: "sink done" };
const NOTICES = { CONNECTING: "Connecting", DOWN: "No frames", ENDED: "End of file", STOPPED: "Stopped" };
const POLICIES = { latest: "newest frame", every: "every frame" };
const STATE_KINDS = { UP: "good", DOWN: "bad" };

const cards = new Map();
const find = (selector, within = document) => within.querySelector(selector);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const formatNumber = (value, digits = 0) => (value == null ? "–" : value.toFixed(digits));
const formatAge = (ms) => formatNumber(ms, ms < 10 ? 1 : 0);

let eventSource = null;
let lastEvent = 0;
let connected = false;

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text; // unchanged elements are left alone
}

// Status ------------------------------------------------------------------------------------------------------------

function connect() {
  lastEvent = Date.now();
  eventSource = new EventSource("/events");
  eventSource.onmessage = (event) => {
    lastEvent = Date.now();
    setConnected(true);
    show(JSON.parse(event.data));
  };
  eventSource.onerror = reconnect;
}

async function reconnect() {
  if (!eventSource) return;
  eventSource.close();
  eventSource = null;
  setConnected(false, "The server cannot be reached. Reconnecting; the data shown is out of date.");
  for (;;) {
    await sleep(1000);
    try {
      const response = await fetch("/stats", { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (response.ok) break;
      setConnected(false, await errorText(response));
    } catch {
      // still not reachable
    }
  }
  connect();
}

async function errorText(response) {
  if (response.status === 401) return "The token is no longer valid. Reload the page and enter the new one.";
  try {
    return (await response.json()).error;
  } catch {
    return `The server responded with status ${response.status}.`;
  }
}

function setConnected(isConnected, message = "") {
  connected = isConnected;
  const badge = find("#connection");
  setText(badge, isConnected ? "Live" : "Disconnected");
  badge.dataset.kind = isConnected ? "good" : "bad";
  setText(find("#disconnected"), message);
  find("#disconnected").hidden = isConnected;
  document.body.classList.toggle("disconnected", !isConnected);
}

setInterval(() => {
  if (eventSource && Date.now() - lastEvent > TIMEOUT_MS) reconnect();
}, 1000);

// Cards -------------------------------------------------------------------------------------------------------------

function show({ streams, stopped, sinks }) {
  const collector = sinks.find((sink) => sink.kept);
  const running = new Map(Object.entries(streams)); // a plain object would have a "constructor"
  const names = [...running.keys(), ...stopped.filter((name) => !running.has(name))];
  for (const [name, card] of cards) {
    if (!names.includes(name)) {
      card.element.remove();
      cards.delete(name);
    }
  }
  for (const name of names) {
    update(cards.get(name) ?? newCard(name), running.get(name));
    showKept(cards.get(name).element, collector, name);
  }
  const all = [...running.values()];
  const up = all.filter((stream) => stream.state === "UP").length;
  const fps = all.reduce((sum, stream) => sum + stream.fps, 0);
  setText(find("#summary"), names.length ? `${up} of ${names.length} up, ${formatNumber(fps, 1)} fps in total` : "");
  find("#empty").hidden = names.length > 0;
  setText(find("#collecting"), collector?.stopped ?? "");
  find("#collecting").hidden = !collector?.stopped;
}

function showKept(element, collector, name) {
  const kept = new Map(Object.entries(collector?.kept ?? {})).get(name) ?? {};
  const reasons = Object.entries(kept).map(([reason, count]) => `${reason} ${count}`);
  setText(find(".kept", element), collector ? `Kept to learn from: ${reasons.join(", ") || "none yet"}` : "");
}

function newCard(name) {
  const element = find("#card").content.firstElementChild.cloneNode(true);
  const card = { name, element, state: "", index: "", visible: true, history: [] };
  element.dataset.stream = name;
  find("h2", element).textContent = name;
  find("h2", element).id = `stream-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  element.setAttribute("aria-labelledby", find("h2", element).id);
  find(".live", element).setAttribute("aria-label", `Live video of ${name}`);
  for (const [stage, label] of Object.entries(STAGES)) {
    const row = document.createElement("tr");
    row.dataset.stage = stage;
    row.innerHTML = '<th scope="row"></th><td></td><td></td><td></td>';
    row.firstChild.textContent = label;
    find("tbody", element).append(row);
  }
  find("details", element).open = window.innerWidth > 600;
  find(".toggle", element).onclick = () => sendAction(card, card.state === "STOPPED" ? "start" : "stop");
  find(".remove", element).onclick = (event) => confirmRemove(card, event.target);
  find("#grid").append(element);
  new IntersectionObserver(([entry]) => (card.visible = entry.isIntersecting)).observe(element);
  cards.set(name, card);
  playVideo(card);
  return card;
}

function update(card, stream) {
  const { element } = card;
  card.state = stream ? stream.state : "STOPPED";
  const badge = find(".state", element);
  setText(badge, card.state);
  badge.dataset.kind = STATE_KINDS[card.state] || "";
  element.toggleAttribute("data-paused", card.state !== "UP");
  setText(find(".notice", element), card.state === "UP" ? "" : stream?.reason || NOTICES[card.state]);
  const toggle = find(".toggle", element);
  toggle.hidden = Boolean(stream) && !stream.can_stop;
  setText(toggle, stream ? "Stop" : "Start");
  if (!stream) {
    addToHistory(card, null);
    return;
  }
  setText(find(".source", element), `${stream.address}, ${POLICIES[stream.policy] ?? stream.policy}`);
  const dropped = Object.values(stream.dropped).reduce((sum, count) => sum + count, 0);
  const counts = { ...stream, fps: formatNumber(stream.fps, 1), dropped };
  for (const cell of element.querySelectorAll("[data-count]")) setText(cell, String(counts[cell.dataset.count]));
  const causes = Object.entries(stream.dropped).map(([cause, count]) => `${cause} ${count}`);
  setText(find(".drops", element), causes.length ? `Dropped: ${causes.join(", ")}` : "");
  for (const row of element.querySelectorAll("tbody tr")) {
    const ages = stream.ages[row.dataset.stage] ?? {};
    ["p50_ms", "p95_ms", "p99_ms"].forEach((key, column) => setText(row.children[column + 1], formatAge(ages[key])));
  }
  addToHistory(card, stream);
}

// Video -------------------------------------------------------------------------------------------------------------

// Frames are requested one by one: a browser opens six connections to a server, which endless responses would use up.
async function playVideo(card) {
  const canvas = find(".live", card.element);
  while (cards.get(card.name) === card) {
    const started = Date.now();
    const finished = card.state === "STOPPED" || (card.state === "ENDED" && card.index !== "");
    if (finished || document.hidden || !connected || !card.visible) {
      await sleep(300);
      continue;
    }
    try {
      const query = new URLSearchParams({ stream: card.name, after: card.index });
      const response = await fetch(`/frame?${query}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (response.status === 200) {
        card.index = response.headers.get("X-Frame-Index");
        await draw(canvas, await response.blob());
      } else if (!response.ok) {
        await sleep(1000);
      }
    } catch {
      await sleep(1000);
    }
    await sleep(Math.max(card.state === "UP" ? 0 : 500, FRAME_PERIOD_MS - (Date.now() - started)));
  }
}

async function draw(canvas, jpeg) {
  const bitmap = await createImageBitmap(jpeg);
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.parentElement.style.aspectRatio = Math.min(Math.max(bitmap.width / bitmap.height, 1), 2);
  }
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
}

// Actions -----------------------------------------------------------------------------------------------------------

async function sendRequest(method, path, content) {
  try {
    const response = await fetch(path, {
      method,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(content),
    });
    return response.ok ? "" : await errorText(response);
  } catch {
    return "The server cannot be reached.";
  }
}

async function sendAction(card, action) {
  setText(find(".error", card.element), await sendRequest("POST", `/streams/${action}`, { name: card.name }));
}

async function confirmRemove(card, button) {
  if (!button.classList.contains("confirm")) {
    button.classList.add("confirm");
    setText(button, "Really remove?");
    await sleep(4000);
    button.classList.remove("confirm");
    setText(button, "Remove");
    return;
  }
  setText(find(".error", card.element), await sendRequest("DELETE", "/streams", { name: card.name }));
}

const dialog = find("#add");
find("#open-add").onclick = () => {
  setText(find("#add-error"), "");
  dialog.showModal();
};
find("#cancel").onclick = () => dialog.close();
find("form", dialog).onsubmit = async (event) => {
  event.preventDefault();
  const button = find("[type=submit]", dialog);
  button.disabled = true;
  const error = await sendRequest("POST", "/streams", Object.fromEntries(new FormData(event.target)));
  button.disabled = false;
  setText(find("#add-error"), error);
  if (!error) {
    event.target.reset();
    dialog.close();
  }
};

// The token was in the address once; it is a cookie now.
if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", location.pathname);
connect();
