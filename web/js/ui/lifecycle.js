/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a key, drawn: seven states on a line, those that it went through filled, with their dates. */
import { s } from "../dom.js";
import { day } from "../format.js";

export const STATES = ["staged", "active", "draining", "fenced", "proven", "escrowed", "destroyed"];
export const MEANING = {
  staged: "everyone can open with it, nobody seals", active: "seals and opens", draining: "opens; a rotation moves its data away",
  fenced: "the database refuses anything new under it", proven: "certificates say that nothing live is under it",
  escrowed: "out of the keyring, sealed for backups", destroyed: "its material is gone; id and history stay",
};

const said = key => STATES.filter(n => key.states?.[n]).map(n => `${n} ${day(key.states[n])}`).join(", ");
const passed = key => Math.max(STATES.indexOf(key.state), 0);

/* Small: dots alone, for a row of a table. */
export function lifeline(key) {
  const at = passed(key);
  return s("svg", { class: "lifeline", viewBox: "0 0 104 12", role: "img", "aria-label": `${key.state}: ${said(key)}` },
    s("path", { class: "track", d: "M7 6H97" }), s("path", { class: "done", d: `M7 6H${7 + at * 15}` }),
    STATES.map((name, i) => s("circle", { class: `${i === at ? "now" : key.states?.[name] ? "been" : "not"} l-${name}`, cx: 7 + i * 15, cy: 6, r: i === at ? 4.2 : 2.4 })));
}

/* Large, with names and dates; down the page where it is narrow. */
export function lifecycle(key, narrow) {
  const at = passed(key), step = narrow ? 46 : 118, w = narrow ? 300 : STATES.length * step, tall = narrow ? STATES.length * step : 92;
  const x = i => narrow ? 16 : step / 2 + i * step, y = i => narrow ? 22 + i * step : 26;
  return s("svg", { class: `lifecycle ${narrow ? "down" : ""}`, viewBox: `0 0 ${w} ${tall}`, role: "img", "aria-label": `Life of key ${key.id}: ${said(key)}` },
    s("path", { class: "track", d: `M${x(0)} ${y(0)}L${x(6)} ${y(6)}` }), s("path", { class: "done", d: `M${x(0)} ${y(0)}L${x(at)} ${y(at)}` }),
    STATES.map((name, i) => {
      const date = key.states?.[name], kind = i === at ? "now" : date ? "been" : "not";
      const words = { class: `name ${kind}`, x: narrow ? 40 : x(i), y: narrow ? y(i) + (date ? -1 : 4) : 58, "text-anchor": narrow ? "start" : "middle" };
      return s("g", {}, i === at && s("circle", { class: `halo l-${name}`, cx: x(i), cy: y(i), r: 12 }), s("circle", { class: `${kind} l-${name}`, cx: x(i), cy: y(i), r: i === at ? 7 : 5 }),
        s("text", words, name), date && s("text", { class: "date", x: words.x, y: narrow ? y(i) + 14 : 75, "text-anchor": words["text-anchor"] }, day(date)));
    }));
}
