// The picture: clients, the director, the real servers, and the straight way back past the director.

import { draw, el, glyph, keyed, reglyph, say, set } from "./dom.js";
import { hosts, sum } from "./view.js";
import { bytes, count, known, plural, rank, title } from "./words.js";

const NARROW = 640;
const BIG = 5; // hosts; more are shown as one line each
const MOST = 24;
const STEP = 14; // between two dots of a flow
const CALM = 10; // lines; with more only the trunks move

export function scene(stage, snapshot) {
  const width = stage.clientWidth;
  if (!width) return;
  if (!stage.lines) prepare(stage);
  const all = hosts(snapshot).sort((a, b) => rank(a.state) - rank(b.state));
  const shown = all.length > MOST ? all.slice(0, MOST - 1) : inOrder(snapshot, all);
  const model = {
    width, shown, rest: all.length - shown.length, services: snapshot.services,
    vips: snapshot.vips, strangers: strangers(snapshot), host: snapshot.host,
    rate: sum(snapshot.services, (one) => one.counters.connections_per_s),
    bytes: sum(snapshot.services, (one) => one.counters.bytes_in_per_s),
  };
  const plan = (width < NARROW ? tall : wide)(model);
  stage.style.height = `${plan.height}px`;
  set(stage.lines, { viewBox: `0 0 ${width} ${plan.height}`, width, height: plan.height });
  cards(stage, model, plan);
  flows(stage, model, plan);
}

function inOrder(snapshot, all) {
  const place = new Map(hosts(snapshot).map((one, turn) => [one.host, turn]));
  return [...all].sort((a, b) => place.get(a.host) - place.get(b.host));
}

function strangers(snapshot) {
  return snapshot.vips.flatMap((vip) =>
    vip.claimants.map((one) => ({ ...one, vip: vip.vip }))).slice(0, 3);
}

function prepare(stage) {
  stage.lines = draw("svg", { class: "lines", "aria-hidden": "true" });
  stage.flows = draw("g", {});
  stage.lines.append(stage.flows);
  stage.cards = el("div", "cards");
  stage.append(stage.lines, stage.cards);
}

// --- where everything stands

const size = (model) => (model.shown.length <= BIG ? { h: 72, gap: 12 } : { h: 20, gap: 3 });
const vipRows = (model) => Math.min(model.vips.length, 6);
const directorHeight = (model) => 58 + 24 * vipRows(model);

function wide(model) {
  const { width, shown, rest } = model;
  const { h, gap } = size(model);
  const list = shown.length + (rest ? 1 : 0);
  const head = h < 40 ? 22 : 6;
  const listHeight = list * (h + gap) - gap;
  const directorH = directorHeight(model);
  const extra = model.strangers.length * 62;
  const body = Math.max(listHeight, directorH + 2 * extra, 150);
  const height = head + body + 64;
  const middle = head + body / 2;
  const left = Math.round(width * 0.53);
  const hostW = width - left - 54;
  const directorW = Math.min(230, Math.round(width * 0.27));
  const directorX = Math.round((150 + left) / 2 - directorW / 2);
  const top = head + (body - listHeight) / 2;
  const director = { x: directorX, y: middle - directorH / 2, w: directorW, h: directorH };
  return {
    wide: true, height, head: { x: left, y: top - 20, w: hostW },
    clients: { x: 4, y: middle - 42, w: 104, h: 84 },
    director,
    hosts: Array.from({ length: list }, (_, turn) => (
      { x: left, y: top + turn * (h + gap), w: hostW, h })),
    strangers: model.strangers.map((_, turn) => (
      { x: directorX, y: director.y + directorH + 30 + turn * 62, w: directorW, h: 54 })),
    bus: width - 24, floor: height - 20,
  };
}

function tall(model) {
  const { width, shown, rest } = model;
  const { h, gap } = size(model);
  const list = shown.length + (rest ? 1 : 0);
  const directorH = directorHeight(model);
  const inner = width - 68;
  const director = { x: 34, y: 104, w: inner, h: directorH };
  const strangersY = director.y + directorH + 26;
  const top = strangersY + model.strangers.length * 62 + (h < 40 ? 22 : 8);
  return {
    wide: false, height: top + list * (h + gap) + 4, head: { x: 34, y: top - 20, w: inner },
    clients: { x: 34, y: 2, w: inner * 0.55, h: 64 },
    director,
    hosts: Array.from({ length: list }, (_, turn) => (
      { x: 34, y: top + turn * (h + gap), w: inner, h })),
    strangers: model.strangers.map((_, turn) => (
      { x: 34, y: strangersY + turn * 62, w: inner, h: 54 })),
    bus: width - 12, floor: 0,
  };
}

// --- the cards

function cards(stage, model, plan) {
  const compact = model.shown.length > BIG;
  const items = [
    { key: "clients", box: plan.clients, make: newClients, show: showClients },
    { key: "director", box: plan.director, make: newDirector, show: showDirector },
    ...model.shown.map((host, turn) => ({
      key: `host ${compact} ${host.host}`, box: plan.hosts[turn], host,
      make: compact ? newLine : newHost, show: compact ? showLine : showHost,
    })),
    ...model.strangers.map((one, turn) => ({
      key: `stranger ${one.mac} ${one.vip}`, box: plan.strangers[turn], one,
      make: newStranger, show: showStranger,
    })),
  ];
  if (compact && model.services.length > 1) {
    items.push({ key: "heads", box: { ...plan.head, h: 18 }, make: newHeads, show: showHeads });
  }
  if (model.rest) {
    items.push({ key: "rest", box: plan.hosts.at(-1), make: () => el("div", "rest"),
      show: (node) => say(node, `and ${plural(model.rest, "more server")}, none of them worse`) });
  }
  keyed(stage.cards, items, (item) => item.key, (item) => item.make(item), (node, item) => {
    place(node, item.box);
    item.show(node, model, item);
  });
}

function place(node, box) {
  node.style.left = `${box.x}px`;
  node.style.top = `${box.y}px`;
  node.style.width = `${box.w}px`;
  node.style.height = `${box.h}px`;
}

function newClients() {
  const [rate, volume] = [el("b"), el("small")];
  return Object.assign(el("div", "box clients", el("span", "", "clients"), rate, volume),
    { rate, volume });
}

function showClients(node, model) {
  say(node.rate, `${count(model.rate)}/s`);
  say(node.volume, `${bytes(model.bytes)}/s in`);
}

function newDirector() {
  const [name, list] = [el("b"), el("ul")];
  const node = el("div", "box director", el("span", "", "director"), name, list);
  return Object.assign(node, { name, list });
}

function showDirector(node, model) {
  say(node.name, model.host);
  const shown = model.vips.slice(0, 6);
  keyed(node.list, shown, (one) => one.vip, newVip, (row, one) => {
    const sole = one.announced && !one.claimants.length;
    reglyph(row.mark, sole ? "well" : "bad");
    const here = one.announced ? `${one.link} ${one.mac}` : "not announced";
    say(row.note, one.claimants.length ? "contested" : one.announced ? one.link : "not announced");
    set(row, { title: `${one.vip}: ${here}`, class: sole ? "" : "bad" });
  });
}

function newVip(one) {
  const [mark, note] = [glyph("well"), el("small")];
  return Object.assign(el("li", "", mark, el("span", "mono", one.vip), note), { mark, note });
}

function newHost({ host }) {
  const parts = {
    mark: glyph("up"), state: el("em"), rate: el("b"), small: el("small"), reason: el("p"),
  };
  const name = el("div", "name", parts.mark, el("b", "", host.host), el("span", "mono", host.address));
  const node = el("div", "box host", name, el("div", "flow", parts.rate, parts.small),
    el("div", "says", parts.state, parts.reason));
  return Object.assign(node, parts);
}

function showHost(node, _model, { host }) {
  const state = known(host.state);
  set(node, { class: `box host ${state}` });
  reglyph(node.mark, state);
  say(node.state, state);
  say(node.rate, `${count(host.rate)}/s`);
  say(node.small, `${count(host.active)} open`);
  say(node.reason, host.reason || `weight ${host.weight === host.wanted
    ? host.weight : `${host.weight} of ${host.wanted}`}`);
  set(node.reason, { title: host.reason });
}

function newLine({ host }) {
  const parts = { marks: el("span", "marks"), state: el("em"), rate: el("b") };
  const node = el("div", "box row", parts.marks, el("span", "label", host.host), parts.state,
    parts.rate);
  return Object.assign(node, parts);
}

function showLine(node, model, { host }) {
  const state = known(host.state);
  set(node, { class: `box row ${state}`, title: host.reason });
  const marks = model.services.map((service, turn) => ({ turn, state: host.states[turn] }));
  keyed(node.marks, marks, (one) => one.turn, () => glyph("up"), (mark, one) => {
    reglyph(mark, one.state ? known(one.state) : "absent");
  });
  const so = model.services.filter((_, turn) => host.states[turn] === host.state);
  const held = host.states.filter(Boolean).length;
  const where = so.length === 1 && held > 1 ? `:${so[0].port} ` : "";
  say(node.state, state === "up" ? "" : where + state);
  say(node.rate, `${count(host.rate)}/s`);
}

const newHeads = () => el("div", "heads");

function showHeads(node, model) {
  keyed(node, model.services, title, (one) => el("span", "mono", `:${one.port}`), () => {});
}

function newStranger({ one }) {
  const name = one.host || "an unknown machine";
  return el("div", "box stranger", glyph("bad"), el("b", "", name), el("span", "mono", one.mac),
    el("p", "", `claims ${one.vip} as well`));
}

const showStranger = () => {};

// --- the lines

function flows(stage, model, plan) {
  const most = Math.max(1, ...model.shown.map((host) => host.rate));
  const lines = (plan.wide ? wideFlows : tallFlows)(model, plan, most);
  stage.classList.toggle("still", false);
  const calm = model.shown.length > CALM;
  keyed(stage.flows, lines, (one) => one.key, newFlow, (node, one) => {
    set(node, { class: `flow ${one.kind} ${one.state ?? ""}` });
    set(node.base, { d: one.d, "stroke-width": one.thick.toFixed(1) });
    const moves = one.rate > 0 && (one.trunk || !calm);
    set(node.dots, { d: moves ? one.d : "", "stroke-width": Math.max(3, one.thick * 0.62).toFixed(1) });
    const pace = Math.min(1.4, Math.max(0.16, 1.25 - 0.36 * Math.log10(1 + one.rate)));
    node.dots.style.animationDuration = `${pace.toFixed(2)}s`;
    const cut = one.cut;
    say(node.label, one.label?.text ?? "");
    if (one.label) set(node.label, { x: one.label.x, y: one.label.y, "text-anchor": one.label.anchor });
    set(node.cross, { d: cut ? `M${cut.x - 5} ${cut.y - 5}l10 10m0-10l-10 10` : "" });
  });
}

function newFlow() {
  const node = draw("g", {});
  node.base = draw("path", { class: "base" });
  node.dots = draw("path", { class: "dots", "stroke-dasharray": `0 ${STEP}` });
  node.cross = draw("path", { class: "cross" });
  node.label = draw("text", {});
  node.append(node.base, node.dots, node.cross, node.label);
  return node;
}

const middle = (box) => box.y + box.h / 2;
const thick = (rate, most, top) => (rate > 0 ? 2 + (top - 2) * Math.sqrt(rate / most) : 1.5);
const dead = (host) => !host.weight && (!host.active || known(host.state) === "down");

function each(model, plan, most, request, reply) {
  return model.shown.flatMap((host, turn) => {
    const box = plan.hosts[turn];
    const state = dead(host) ? "dead" : "";
    const common = { state, rate: host.rate, thick: thick(host.rate, most, box.h < 40 ? 3.5 : 7) };
    return [
      { ...common, key: `to ${host.host}`, kind: "request", ...request(box, host) },
      { ...common, key: `from ${host.host}`, kind: "reply", ...reply(box) },
    ];
  });
}

function wideFlows(model, plan, most) {
  const { clients, director, bus, floor } = plan;
  const out = { x: director.x + director.w, y: middle(director) };
  const gate = plan.hosts.length ? plan.hosts[0].x : out.x;
  const first = plan.hosts[Math.max(0, model.shown.findIndex((one) => !dead(one)))] ?? director;
  const home = clients.x + clients.w / 2;
  const trunk = { trunk: true, rate: model.rate, thick: model.rate > 0 ? 8 : 2 };
  const r = 16;
  return [
    { ...trunk, key: "in", kind: "request",
      d: `M${clients.x + clients.w} ${middle(clients)}H${director.x}`,
      label: { text: "requests", x: (clients.x + clients.w + director.x) / 2, y: middle(clients) - 13,
        anchor: "middle" } },
    ...each(model, plan, most, (box, host) => {
      const y = middle(box);
      const bend = (out.x + gate) / 2;
      return {
        d: `M${out.x} ${out.y}C${bend} ${out.y} ${bend} ${y} ${box.x} ${y}`,
        cut: known(host.state) === "down" && box.h > 40
          ? { x: (out.x + gate) / 2, y: (out.y + y) / 2 } : null,
      };
    }, (box) => ({ d: `M${box.x + box.w} ${middle(box)}H${box === first ? bus - r : bus}` })),
    { ...trunk, key: "back", kind: "reply trunk",
      d: `M${bus - r} ${middle(first)}Q${bus} ${middle(first)} ${bus} ${middle(first) + r}V${floor - r}Q${bus} ${floor} ${bus - r} ${floor}H${home + r}`
        + `Q${home} ${floor} ${home} ${floor - r}V${clients.y + clients.h + 8}`,
      label: { text: "replies go straight back, past the director", x: (out.x + bus) / 2, y: floor - 12,
        anchor: "middle" } },
    { key: "arrow", kind: "reply arrow", rate: 0, thick: 3,
      d: `M${home - 8} ${clients.y + clients.h + 12}l8 -9l8 9` },
    ...model.strangers.map((one, turn) => {
      const box = plan.strangers[turn];
      return { key: `stranger ${one.mac} ${one.vip}`, kind: "rogue", rate: 0, thick: 2,
        d: `M${clients.x + clients.w - 14} ${clients.y + clients.h}`
          + `C${clients.x + clients.w} ${middle(box)} ${box.x - 60} ${middle(box)} ${box.x} ${middle(box)}` };
    }),
  ];
}

function tallFlows(model, plan, most) {
  const { clients, director, bus } = plan;
  const side = 12;
  const last = middle(plan.hosts[model.shown.findLastIndex((one) => !dead(one))] ?? director);
  const r = 12;
  const start = clients.x + 34;
  const trunk = { trunk: true, rate: model.rate, thick: model.rate > 0 ? 6 : 2 };
  return [
    { ...trunk, key: "in", kind: "request", d: `M${start} ${clients.y + clients.h}V${director.y}`,
      label: { text: "requests", x: start + 12, y: director.y - 14, anchor: "start" } },
    { ...trunk, key: "down", kind: "request",
      d: `M${director.x} ${middle(director)}H${side + r}Q${side} ${middle(director)} ${side} `
        + `${middle(director) + r}V${last}` },
    ...each(model, plan, most, (box) => ({ d: `M${side} ${middle(box)}H${box.x}` }),
      (box) => ({ d: `M${box.x + box.w} ${middle(box)}H${bus}` })),
    { ...trunk, key: "back", kind: "reply trunk",
      d: `M${bus} ${last}V${middle(clients) + r}Q${bus} ${middle(clients)} ${bus - r} `
        + `${middle(clients)}H${clients.x + clients.w + 6}`,
      label: { text: "replies, straight back", x: bus - 12, y: director.y - 14, anchor: "end" } },
    { key: "arrow", kind: "reply arrow", rate: 0, thick: 3,
      d: `M${clients.x + clients.w + 12} ${middle(clients) - 7}l-9 7l9 7` },
    ...model.strangers.map((one, turn) => {
      const box = plan.strangers[turn];
      return { key: `stranger ${one.mac} ${one.vip}`, kind: "rogue", rate: 0, thick: 2,
        d: `M${box.x + 60 + turn * 30} ${director.y + director.h}V${box.y}` };
    }),
  ];
}
