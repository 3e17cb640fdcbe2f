"use strict";

const SILENT_MS = 4000; // the numbers come once a second
const PICTURE_MS = 50;
const STAGES = { decoded: "decoded", infer_start: "inference start", infer_end: "inference end", sink_done: "sink done" };
const NOTICES = { CONNECTING: "Connecting", DOWN: "No picture", ENDED: "The file is at its end", STOPPED: "Stopped" };
const POLICIES = { latest: "newest frame", every: "every frame" };
const KINDS = { UP: "good", DOWN: "bad" };

const cards = new Map();
const find = (selector, within = document) => within.querySelector(selector);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const number = (value, digits = 0) => (value == null ? "–" : value.toFixed(digits));
const age = (ms) => number(ms, ms < 10 ? 1 : 0);

let source = null;
let heard = 0;
let connected = false;

function write(element, text) {
  if (element.textContent !== text) element.textContent = text; // nothing is touched that stays as it is
}

// The numbers -----------------------------------------------------------------------------------------------------

function listen() {
  heard = Date.now();
  source = new EventSource("/events");
  source.onmessage = (event) => {
    heard = Date.now();
    setConnected(true);
    show(JSON.parse(event.data));
  };
  source.onerror = lose;
}

async function lose() {
  if (!source) return;
  source.close();
  source = null;
  setConnected(false, "The server cannot be reached. Trying again; what you see is old.");
  for (;;) {
    await pause(1000);
    try {
      const answer = await fetch("/stats", { signal: AbortSignal.timeout(SILENT_MS) });
      if (answer.ok) break;
      setConnected(false, await refusal(answer));
    } catch {
      // still away
    }
  }
  listen();
}

async function refusal(answer) {
  if (answer.status === 401) return "The token is no longer accepted. Reload the page and give the new one.";
  try {
    return (await answer.json()).error;
  } catch {
    return `The server answered ${answer.status}.`;
  }
}

function setConnected(now, why = "") {
  connected = now;
  const link = find("#link");
  write(link, now ? "Live" : "Disconnected");
  link.dataset.kind = now ? "good" : "bad";
  write(find("#gone"), why);
  find("#gone").hidden = now;
  document.body.classList.toggle("gone", !now);
}

setInterval(() => {
  if (source && Date.now() - heard > SILENT_MS) lose();
}, 1000);

// The cards -------------------------------------------------------------------------------------------------------

function show({ streams, stopped }) {
  const running = new Map(Object.entries(streams)); // an object has a "constructor" that nobody added
  const names = [...running.keys(), ...stopped.filter((name) => !running.has(name))];
  for (const [name, card] of cards) {
    if (!names.includes(name)) {
      card.element.remove();
      cards.delete(name);
    }
  }
  for (const name of names) {
    update(cards.get(name) ?? newCard(name), running.get(name));
  }
  const all = [...running.values()];
  const up = all.filter((stream) => stream.state === "UP").length;
  const fps = all.reduce((sum, stream) => sum + stream.fps, 0);
  write(find("#summary"), names.length ? `${up} of ${names.length} up, ${number(fps, 1)} fps in all` : "");
  find("#empty").hidden = names.length > 0;
}

function newCard(name) {
  const element = find("#card").content.firstElementChild.cloneNode(true);
  const card = { name, element, state: "", index: "", seen: true, history: [] };
  element.dataset.stream = name;
  find("h2", element).textContent = name;
  find("h2", element).id = `stream-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  element.setAttribute("aria-labelledby", find("h2", element).id);
  find(".live", element).setAttribute("aria-label", `Live picture of ${name}`);
  for (const [stage, label] of Object.entries(STAGES)) {
    const row = document.createElement("tr");
    row.dataset.stage = stage;
    row.innerHTML = '<th scope="row"></th><td></td><td></td><td></td>';
    row.firstChild.textContent = label;
    find("tbody", element).append(row);
  }
  find("details", element).open = window.innerWidth > 600;
  find(".toggle", element).onclick = () => change(card, card.state === "STOPPED" ? "start" : "stop");
  find(".remove", element).onclick = (event) => confirmRemove(card, event.target);
  find("#grid").append(element);
  new IntersectionObserver(([entry]) => (card.seen = entry.isIntersecting)).observe(element);
  cards.set(name, card);
  watch(card);
  return card;
}

function update(card, stream) {
  const { element } = card;
  card.state = stream ? stream.state : "STOPPED";
  const pill = find(".state", element);
  write(pill, card.state);
  pill.dataset.kind = KINDS[card.state] || "";
  element.toggleAttribute("data-still", card.state !== "UP");
  write(find(".notice", element), card.state === "UP" ? "" : stream?.reason || NOTICES[card.state]);
  const toggle = find(".toggle", element);
  toggle.hidden = Boolean(stream) && !stream.can_stop;
  write(toggle, stream ? "Stop" : "Start");
  if (!stream) {
    remember(card, null);
    return;
  }
  write(find(".source", element), `${stream.address}, ${POLICIES[stream.policy] ?? stream.policy}`);
  const dropped = Object.values(stream.dropped).reduce((sum, count) => sum + count, 0);
  const facts = { ...stream, fps: number(stream.fps, 1), dropped };
  for (const cell of element.querySelectorAll("[data-fact]")) write(cell, String(facts[cell.dataset.fact]));
  const causes = Object.entries(stream.dropped).map(([cause, count]) => `${cause} ${count}`);
  write(find(".drops", element), causes.length ? `Dropped: ${causes.join(", ")}` : "");
  for (const row of element.querySelectorAll("tbody tr")) {
    const ages = stream.ages[row.dataset.stage] ?? {};
    ["p50_ms", "p95_ms", "p99_ms"].forEach((key, column) => write(row.children[column + 1], age(ages[key])));
  }
  remember(card, stream);
}

// The pictures ----------------------------------------------------------------------------------------------------

// Asked for one by one: a browser keeps six connections to a server, which endless pictures would use up.
async function watch(card) {
  const canvas = find(".live", card.element);
  while (cards.get(card.name) === card) {
    const begun = Date.now();
    const finished = card.state === "STOPPED" || (card.state === "ENDED" && card.index !== "");
    if (finished || document.hidden || !connected || !card.seen) {
      await pause(300);
      continue;
    }
    try {
      const query = new URLSearchParams({ stream: card.name, after: card.index });
      const answer = await fetch(`/picture?${query}`, { signal: AbortSignal.timeout(SILENT_MS) });
      if (answer.status === 200) {
        card.index = answer.headers.get("X-Frame-Index");
        await paint(canvas, await answer.blob());
      } else if (!answer.ok) {
        await pause(1000);
      }
    } catch {
      await pause(1000);
    }
    await pause(Math.max(card.state === "UP" ? 0 : 500, PICTURE_MS - (Date.now() - begun)));
  }
}

async function paint(canvas, jpeg) {
  const picture = await createImageBitmap(jpeg);
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
    canvas.parentElement.style.aspectRatio = Math.min(Math.max(picture.width / picture.height, 1), 2);
  }
  canvas.getContext("2d").drawImage(picture, 0, 0);
  picture.close();
}

// Changes ---------------------------------------------------------------------------------------------------------

async function ask(method, path, wish) {
  try {
    const answer = await fetch(path, {
      method,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(wish),
    });
    return answer.ok ? "" : await refusal(answer);
  } catch {
    return "The server cannot be reached.";
  }
}

async function change(card, how) {
  write(find(".error", card.element), await ask("POST", `/streams/${how}`, { name: card.name }));
}

async function confirmRemove(card, button) {
  if (!button.classList.contains("sure")) {
    button.classList.add("sure");
    write(button, "Really remove?");
    await pause(4000);
    button.classList.remove("sure");
    write(button, "Remove");
    return;
  }
  write(find(".error", card.element), await ask("DELETE", "/streams", { name: card.name }));
}

const dialog = find("#add");
find("#open-add").onclick = () => {
  write(find("#add-error"), "");
  dialog.showModal();
};
find("#cancel").onclick = () => dialog.close();
find("form", dialog).onsubmit = async (event) => {
  event.preventDefault();
  const button = find("[type=submit]", dialog);
  button.disabled = true;
  const error = await ask("POST", "/streams", Object.fromEntries(new FormData(event.target)));
  button.disabled = false;
  write(find("#add-error"), error);
  if (!error) {
    event.target.reset();
    dialog.close();
  }
};

// The token came once in the address and is a cookie now.
if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", location.pathname);
listen();
