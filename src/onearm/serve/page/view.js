// A snapshot as the page needs it: defaults filled in, servers by host. Pure.

import { moment, rank } from "./words.js";

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
    alerts: data.alerts.map((one) => ({ text: "", ...one })),
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
// The kernel's weight decides who gets new connections, nothing else.
export const inRotation = (service) => service.servers.filter((one) => one.weight > 0).length;

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
