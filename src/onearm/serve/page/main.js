// Asks for the snapshot each second, and says so when nobody answers.

import { say, set } from "./dom.js";
import { board } from "./board.js";
import { scene } from "./scene.js";
import { filled, sum } from "./view.js";
import { moment, span } from "./words.js";

const EVERY_MS = 1000;
const PATIENCE_MS = 5000;
const OLD_S = 30;
const KEPT = 120;

const state = { snapshot: null, answered: performance.now(), age: 0, past: new Map() };
const by = (id) => document.getElementById(id);

function remember(name, value) {
  const held = state.past.get(name) ?? [];
  held.push(value);
  if (held.length > KEPT) held.shift();
  state.past.set(name, held);
}

function take(data) {
  state.snapshot = filled(data);
  state.answered = performance.now();
  state.age = moment(data.now) - moment(data.at);
  remember("", sum(state.snapshot.services, (one) => one.counters.connections_per_s));
  for (const one of state.snapshot.services) {
    remember(`${one.vip} ${one.port} ${one.protocol}`, one.counters.connections_per_s);
  }
}

function show() {
  if (!state.snapshot) return;
  board(state.snapshot, state.past);
  scene(by("scene"), state.snapshot);
}

function pulse(gone) {
  document.body.classList.toggle("gone", gone);
  const silent = span((performance.now() - state.answered) / 1000);
  set(by("live"), { class: gone ? "live lost" : state.age > OLD_S ? "live old" : "live" });
  const text = gone
    ? `daemon gone for ${silent}`
    : state.age > OLD_S ? `figures are ${span(state.age)} old` : "live";
  say(by("live").lastElementChild, text);
  if (gone) document.title = "✖ daemon gone · onearm";
}

async function ask() {
  const answer = await fetch("snapshot.json", {
    cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.json();
}

async function turn() {
  let data = null;
  try {
    data = await ask();
  } catch {
    pulse(true);
  }
  if (data) {
    take(data);
    show();
    pulse(false);
  }
  setTimeout(turn, EVERY_MS);
}

new ResizeObserver(show).observe(by("scene"));
turn();
