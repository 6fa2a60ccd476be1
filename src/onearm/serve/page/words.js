// Numbers, times and states as people read them. Nothing here touches the page.

// The worst first.
export const STATES = ["down", "unknown", "draining", "ramping", "drained", "unchecked", "up"];

export const known = (state) => (STATES.includes(state) ? state : "unknown");
export const rank = (state) => STATES.indexOf(known(state));

function scaled(value, units) {
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return `${value.toFixed(digits)}${units[unit]}`;
}

export const count = (value) => scaled(value, ["", " k", " M", " G", " T"]);
export const bytes = (value) => scaled(value, [" B", " kB", " MB", " GB", " TB"]);
export const whole = (value) => Math.round(value).toLocaleString("en-US");

export function seconds(value) {
  if (value < 0.00095) return `${Math.max(1, Math.round(value * 1e6))} µs`;
  if (value < 0.0995) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
  return `${value.toFixed(1)} s`;
}

function two(s, [size, unit], [part, less]) {
  const rest = Math.floor((s % size) / part);
  return `${Math.floor(s / size)} ${unit}${rest ? ` ${rest} ${less}` : ""}`;
}

export function span(value) {
  const s = Math.max(0, Math.floor(value));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return two(s, [3600, "h"], [60, "min"]);
  return two(s, [86400, "d"], [3600, "h"]);
}

export const moment = (text) => Date.parse(text) / 1000;

export function clock(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text : date.toLocaleTimeString("en-GB");
}

export const plural = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const bracketed = (address) => (address.includes(":") ? `[${address}]` : address);
export const title = (service) =>
  `${bracketed(service.vip)}:${service.port}/${service.protocol}`;
