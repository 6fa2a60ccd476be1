// A snapshot as the page needs it: defaults filled in, servers by host, the verdict. Pure.

import { moment, plural, rank, served, title, worst } from "./words.js";

const NOTHING = { connections: 0, connections_per_s: 0, packets_in_per_s: 0, bytes_in_per_s: 0 };

function server(data) {
  return {
    reason: "", weight: null, wanted: 1, active: 0, inactive: 0, check: null, history: [],
    drain_deadline: null, sorry: false,
    ...data,
    counters: { ...NOTHING, ...data.counters },
  };
}

function service(data) {
  return {
    panic: false, sorry: false, quorum: 1, quorum_met: true,
    ...data,
    servers: (data.servers ?? []).map(server),
    counters: { ...NOTHING, ...data.counters },
  };
}

function vip(data) {
  return { link: "", mac: "", announced: false, ...data, claimants: data.claimants ?? [] };
}

export function filled(data) {
  return {
    rounds: 0, rounds_failed: 0, last_round_s: 0, drift_healed: 0, drain_cut: 0, reloads: 0,
    reloads_failed: 0, converged: false, left: [], spec_error: "", troubles: [], events: [],
    ...data,
    services: (data.services ?? []).map(service),
    vips: (data.vips ?? []).map(vip),
  };
}

// Each real server once, whatever services it stands behind.
export function hosts(snapshot) {
  const found = new Map();
  snapshot.services.forEach((service, turn) => {
    for (const server of service.servers) {
      const one = found.get(server.host) ?? {
        host: server.host, address: server.address, states: [], reason: "", active: 0, rate: 0,
        bytes: 0, weight: 0, wanted: 0, since: "", state: "up",
      };
      found.set(server.host, one);
      one.states[turn] = server.state;
      one.active += server.active;
      one.rate += server.counters.connections_per_s;
      one.bytes += server.counters.bytes_in_per_s;
      one.weight += server.weight ?? 0;
      one.wanted += server.wanted;
      if (!one.since || rank(server.state) < rank(one.state)) {
        Object.assign(one, { state: server.state, reason: server.reason, since: server.since });
      }
    }
  });
  return [...found.values()];
}

export const sum = (items, figure) => items.reduce((total, item) => total + figure(item), 0);
export const inRotation = (service) =>
  service.servers.filter((one) => served(one.state) && one.weight > 0).length;

// What is wrong, the gravest first.
export function alerts(snapshot) {
  const found = [];
  const add = (level, head, text) => found.push({ level, head, text });
  for (const vip of snapshot.vips) {
    for (const one of vip.claimants) {
      const who = one.host ? `${one.host} (${one.mac})` : one.mac;
      add("bad", `${who} answers ARP for ${vip.vip}`,
        "Clients may be led past the director. Silence that machine: onearm doctor says how.");
    }
    if (!vip.announced) add("bad", `${vip.vip} is not announced`, "Nobody leads clients here.");
  }
  for (const service of snapshot.services) {
    const name = title(service);
    if (service.panic) {
      add("bad", `${name}: too few are healthy`, "All are served, healthy or not.");
    } else if (service.sorry) {
      add("bad", `${name}: nobody is healthy`, "The sorry server answers.");
    } else if (service.servers.length && !inRotation(service)) {
      add("bad", `${name}: no server is in rotation`, "Clients get no answer.");
    } else if (!service.quorum_met) {
      add("warn", `${name}: below its quorum of ${service.quorum}`, "");
    }
  }
  const down = hosts(snapshot).filter((host) => host.state === "down");
  for (const host of down.slice(0, 4)) {
    const where = snapshot.services.filter((_, turn) => host.states[turn] === "down");
    const partly = where.length < host.states.filter(Boolean).length;
    const what = partly ? ` for ${where.map(title).join(", ")}` : "";
    add("warn", `${host.host} is down${what}`, host.reason);
  }
  if (down.length > 4) add("warn", `${down.length - 4} more servers are down`, "");
  if (snapshot.spec_error) {
    add("warn", "The new spec was not taken; the old one goes on", snapshot.spec_error);
  }
  if (snapshot.left.length) {
    add("warn", `${plural(snapshot.left.length, "difference")} could not be mended`,
      snapshot.left.slice(0, 3).join("; "));
  }
  for (const text of snapshot.troubles) add("warn", "The daemon itself has trouble", text);
  return found.sort((a, b) => (a.level > b.level) - (a.level < b.level));
}

export function verdict(snapshot) {
  const all = hosts(snapshot);
  const good = all.filter((host) => served(worst(host.states.filter(Boolean)))).length;
  const found = alerts(snapshot);
  if (found.length) {
    const more = found.length > 1 ? ` · and ${plural(found.length - 1, "more thing")}` : "";
    return { level: found[0].level, text: found[0].head + more };
  }
  const resting = all.length - good;
  const rest = resting ? `, ${resting} ${resting === 1 ? "drains" : "drain"}` : "";
  return {
    level: "well",
    text: `All is well: ${good} of ${plural(all.length, "real server")} in rotation${rest}`,
  };
}

// A server's past as pieces of [from, until), newest last.
export function pieces(server, from, until) {
  const changes = server.history.map((one) => ({ ...one, when: moment(one.at) }));
  return changes
    .map((one, turn) => ({
      state: one.state, reason: one.reason ?? "", at: one.at,
      from: Math.max(one.when, from),
      until: turn + 1 < changes.length ? changes[turn + 1].when : until,
    }))
    .filter((piece) => piece.until > from);
}
