// Making and changing elements. Text goes in as text only: names and reasons are other people's.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, kind, ...children) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  node.append(...children);
  return node;
}

export function draw(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  set(node, attributes);
  return node;
}

export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }
}

export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
  return node;
}

export function glyph(name) {
  const node = draw("svg", { class: `glyph ${name}`, "aria-hidden": "true" });
  node.append(draw("use", { href: `#${name}` }));
  return node;
}

export function reglyph(node, name) {
  set(node, { class: `glyph ${name}` });
  set(node.firstChild, { href: `#${name}` });
}

// One child per item, kept as long as its key is there, in the items' order.
export function keyed(parent, items, key, make, update) {
  const held = parent.held ?? new Map();
  const kept = new Map();
  let before = null;
  for (const item of items) {
    const name = key(item);
    const node = held.get(name) ?? make(item);
    kept.set(name, node);
    const place = before ? before.nextSibling : parent.firstChild;
    if (place !== node) parent.insertBefore(node, place);
    update(node, item);
    before = node;
  }
  for (const [name, node] of held) {
    if (kept.get(name) !== node) node.remove();
  }
  parent.held = kept;
}
