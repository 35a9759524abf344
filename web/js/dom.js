/* SPDX-License-Identifier: Apache-2.0 */
/* Elements from code.  Text is always text: nothing here parses markup. */

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [type, fn] of Object.entries(value)) node.addEventListener(type, fn);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}

/* h("button", {class: "x", on: {click}}, "text", [nodes]); null and false, as attribute or child, are left out. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/* For screen readers alone. */
export const hidden = text => h("span", { class: "vh" }, text);

let ids = 0;
export const uid = prefix => `${prefix}-${++ids}`;

/* Replace only when it differs: a live region that is written again is read again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
