// All but the picture: verdict, alerts, figures, services and events.

import { draw, el, glyph, keyed, reglyph, say, set } from "./dom.js";
import { inRotation, pieces, sum } from "./view.js";
import {
  STATES, bytes, clock, count, known, moment, rank, seconds, span, title, whole,
} from "./words.js";

const WINDOWS_S = [300, 900, 3600]; // how far back the strips go: as far as there is something
const MOST_ROWS = 300;
const MARKS = { well: "✔", warn: "▲", bad: "✖" };
const by = (id) => document.getElementById(id);

export function board(snapshot, past) {
  head(snapshot);
  keyed(by("alerts"), snapshot.alerts, (a) => `${a.level} ${a.head}`, newAlert, showAlert);
  keyed(by("figures"), figures(snapshot, past), (f) => f.name, newFigure, showFigure);
  keyed(by("services"), snapshot.services, title, newService,
    (node, service) => showService(node, service, snapshot, past));
  const events = snapshot.events.map((event, turn) => ({ ...event, turn })).reverse();
  keyed(by("events"), events, (e) => `${e.at} ${e.kind} ${e.text}`, newEvent, () => {});
  say(by("foot"), `${snapshot.spec_path} · ${snapshot.spec_digest.slice(0, 19)} · process `
    + `${snapshot.pid} · build ${snapshot.build.slice(0, 12)}`);
}

function head(snapshot) {
  say(by("name"), snapshot.name);
  const age = moment(snapshot.at) - moment(snapshot.started);
  say(by("host"), `director ${snapshot.host} · up ${span(age)}`);
  const found = snapshot.verdict;
  const node = by("verdict");
  if (!node.firstChild) node.append(glyph("well"), el("span"));
  set(node, { class: `verdict ${found.level}` });
  reglyph(node.firstChild, found.level);
  say(node.lastChild, found.head);
  document.title = `${MARKS[found.level]} ${snapshot.name} · onearm`;
}

function newAlert(alert) {
  const text = el("p");
  const node = el("div", `alert ${alert.level}`, glyph(alert.level), el("b", "", alert.head), text);
  return Object.assign(node, { text });
}

function showAlert(node, alert) {
  say(node.text, alert.text);
}

function figures(snapshot, past) {
  const servers = snapshot.services.flatMap((service) => service.servers);
  const rotation = sum(snapshot.services, inRotation);
  const healed = snapshot.drift_healed;
  return [
    { name: "new connections", value: count(sum(snapshot.services,
      (s) => s.counters.connections_per_s)), unit: "/s", line: past.get("") ?? [] },
    { name: "open connections", value: count(sum(servers, (s) => s.active)) },
    { name: "from clients", value: bytes(sum(snapshot.services,
      (s) => s.counters.bytes_in_per_s)), unit: "/s" },
    { name: "in rotation", value: `${rotation}`, unit: ` of ${servers.length}`, note: tally(servers),
      level: rotation === servers.length ? "well" : rotation ? "warn" : "bad" },
    { name: "kernel as wanted", value: snapshot.converged ? "yes" : "not yet",
      note: healed ? `drift healed: ${whole(healed)}` : "no drift so far",
      level: snapshot.converged ? "well" : "warn" },
    { name: "rounds", value: whole(snapshot.rounds), note: `last took `
      + `${seconds(snapshot.last_round_s)}${snapshot.rounds_failed
        ? `, ${snapshot.rounds_failed} failed` : ""}` },
  ];
}

// The states that are not plain up, counted.
function tally(servers) {
  const counted = STATES.map((state) =>
    [servers.filter((one) => known(one.state) === state).length, state]);
  const told = counted.filter(([number, state]) => number && state !== "up");
  const words = told.slice(0, 2).map(([number, state]) => `${number} ${state}`);
  const more = sum(told.slice(2), ([number]) => number);
  return [...words, ...(more ? [`${more} more`] : [])].join(", ") || "all up";
}

function newFigure(figure) {
  const [value, unit, note] = [el("b"), el("i"), el("small")];
  const node = el("div", "figure", el("span", "", figure.name), el("p", "", value, unit));
  if (figure.line) node.append(spark());
  node.append(note);
  return Object.assign(node, { value, unit, note });
}

function showFigure(node, figure) {
  set(node, { class: `figure ${figure.level ?? ""}` });
  say(node.value, figure.value);
  say(node.unit, figure.unit ?? "");
  say(node.note, figure.note ?? "");
  if (figure.line) line(node.querySelector(".spark"), figure.line);
}

function spark() {
  const node = draw("svg", {
    class: "spark", viewBox: "0 0 120 28", preserveAspectRatio: "none", "aria-hidden": "true",
  });
  node.append(draw("path", { class: "area" }), draw("path", { class: "line" }));
  return node;
}

function line(node, values) {
  const top = Math.max(1, ...values);
  const points = values.map((value, turn) =>
    `${120 - (values.length - 1 - turn)},${(26 - (value / top) * 23).toFixed(1)}`);
  const path = points.length > 1 ? `M${points.join("L")}` : "";
  set(node.lastChild, { d: path });
  set(node.firstChild, { d: path && `${path}V28H${121 - values.length}Z` });
}

const COLUMNS = [
  ["server", "server"], ["state", "state"], ["weight", "weight"], ["active", "open"],
  ["rate", "new/s"], ["bytes", "in/s"], ["check", "check"], ["past", "history"],
];

function newService(service) {
  const parts = {
    mark: glyph("up"), scheduler: el("span", "chip"), flags: el("span", "flags"),
    tally: el("span", "tally"), rate: el("span", "rate"), spark: spark(), rows: el("tbody"),
    more: el("p", "more"),
  };
  const top = el("header", "", parts.mark, el("h2", "mono", title(service)), parts.scheduler,
    parts.tally, parts.flags, parts.spark, parts.rate);
  const heads = COLUMNS.map(([kind, text]) => {
    const cell = el("th", kind, text);
    cell.scope = "col";
    return cell;
  });
  parts.window = heads.at(-1);
  const table = el("table", "", el("thead", "", el("tr", "", ...heads)), parts.rows);
  return Object.assign(el("section", "card service", top, table, parts.more), parts);
}

function showService(node, service, snapshot, past) {
  const rotation = inRotation(service);
  const all = service.servers.length;
  reglyph(node.mark, rotation === all && all ? "well" : rotation ? "warn" : "bad");
  say(node.scheduler, service.scheduler);
  say(node.tally, `${rotation} of ${all} in rotation`);
  say(node.flags, [
    service.panic && "PANIC: all are served", service.sorry && "SORRY SERVER",
    !service.quorum_met && `below quorum ${service.quorum}`,
  ].filter(Boolean).join(" · "));
  say(node.rate, `${count(service.counters.connections_per_s)}/s new · `
    + `${bytes(service.counters.bytes_in_per_s)}/s in`);
  line(node.spark, past.get(`${service.vip} ${service.port} ${service.protocol}`) ?? []);
  say(node.window, `last ${span(reach(snapshot)).replace("1 h", "hour")}`);
  const sorted = [...service.servers].sort((a, b) => rank(a.state) - rank(b.state));
  set(node, { class: `card service ${all > 6 ? "dense" : ""}` });
  const most = Math.max(1, ...sorted.map((s) => s.counters.connections_per_s));
  keyed(node.rows, sorted.slice(0, MOST_ROWS), (s) => `${s.host} ${s.address}`, newRow,
    (row, server) => showRow(row, server, snapshot, most));
  say(node.more, all > MOST_ROWS ? `and ${all - MOST_ROWS} more, none of them worse` : "");
}

function newRow(server) {
  const cells = Object.fromEntries(COLUMNS.map(([kind]) => [kind, el("td", kind)]));
  const parts = {
    mark: glyph("up"), state: el("b"), since: el("span", "since"), reason: el("span", "reason"),
    bar: el("i", "bar"), rate: el("span"), strip: strip(), columns: cells,
  };
  cells.server.append(parts.mark, el("b", "", server.host), " ", el("span", "mono", server.address));
  cells.state.append(el("div", "", parts.state, " ", parts.since, " ", parts.reason));
  cells.rate.append(parts.bar, parts.rate);
  cells.past.append(parts.strip);
  return Object.assign(el("tr", "", ...Object.values(cells)), parts);
}

function reach(snapshot) {
  const age = moment(snapshot.at) - moment(snapshot.started);
  return WINDOWS_S.find((one) => age <= one) ?? WINDOWS_S.at(-1);
}

function showRow(row, server, snapshot, most) {
  const now = moment(snapshot.at);
  const cells = row.columns;
  set(row, { class: known(server.state) });
  reglyph(row.mark, known(server.state));
  say(row.state, known(server.state) + (server.sorry ? " (sorry server)" : ""));
  say(row.since, server.since && span(now - moment(server.since)));
  say(row.reason, server.reason + until(server, now));
  set(row.reason, { title: server.reason });
  say(cells.weight, weight(server));
  say(cells.active, count(server.active));
  say(row.rate, count(server.counters.connections_per_s));
  row.bar.style.width = `${(100 * server.counters.connections_per_s) / most}%`;
  say(cells.bytes, bytes(server.counters.bytes_in_per_s));
  say(cells.check, checked(server.check));
  set(cells.check, { title: server.check ? `${whole(server.check.good ?? 0)} checks ended well, `
    + `${whole(server.check.bad ?? 0)} ill` : "" });
  paint(row.strip, server, now, reach(snapshot));
}

function until(server, now) {
  if (server.state !== "draining") return "";
  if (!server.drain_deadline) return `${server.reason ? " · " : ""}waits for its last connection`;
  const left = span(moment(server.drain_deadline) - now);
  return `${server.reason ? " · " : ""}cut in ${left}`;
}

function weight(server) {
  if (server.weight === null) return `– of ${server.wanted}`;
  return server.weight === server.wanted ? `${server.weight}` : `${server.weight} of ${server.wanted}`;
}

function checked(check) {
  if (!check) return "–";
  const took = check.last_latency_s ?? null;
  const how = `${check.kind} via ${check.through === "vip" ? "VIP" : check.through}`;
  return took === null ? how : `${how} ${seconds(took)}`;
}

// Height and colour both tell: full is up, a stub is down.
const HEIGHTS = { up: 14, unchecked: 10, ramping: 11, draining: 8, drained: 6, unknown: 5, down: 4 };

function strip() {
  return draw("svg", {
    class: "strip", viewBox: "0 0 3600 14", preserveAspectRatio: "none", role: "img",
  });
}

function paint(node, server, now, window) {
  const from = now - window;
  const found = pieces(server, from, now);
  const label = found.map((p) => `${clock(p.at)} ${known(p.state)}`).slice(-4).join(", ");
  set(node, { "aria-label": label || "no history", viewBox: `0 0 ${window} 14` });
  const rects = found.map((piece) => ({ ...piece, state: known(piece.state) }));
  keyed(node, rects, (piece) => piece.at + piece.state, (piece) => {
    const rect = draw("rect", { class: piece.state });
    rect.append(draw("title", {}));
    rect.firstChild.textContent = `${clock(piece.at)} ${piece.state} ${piece.reason}`;
    return rect;
  }, (rect, piece) => {
    const height = HEIGHTS[piece.state];
    set(rect, {
      x: (piece.from - from).toFixed(0), y: 14 - height, height,
      width: Math.max(window / 120, piece.until - piece.from - window / 400).toFixed(0),
    });
  });
}

const LEVELS = { info: "", warning: "warn", error: "bad" };

function newEvent(event) {
  const level = LEVELS[event.level ?? "info"] ?? "";
  const time = el("time", "mono", clock(event.at));
  time.dateTime = event.at;
  const mark = level ? glyph(level) : el("i", "dot");
  return el("li", level, time, mark, el("p", "", el("em", "", event.kind), " ", event.text));
}
