/* SPDX-License-Identifier: Apache-2.0 */
/* A moment within a range: a slider over it, and the exact time (UTC) to type; each follows the other. */
import { h, s, uid } from "../dom.js";
import { minute, second, span } from "../format.js";

const local = ms => new Date(ms).toISOString().slice(0, 19);

/* marks: times of backups, drawn as ticks. */
export function picker(from, until, chosen, marks = []) {
  const a = Date.parse(from), b = Math.max(Date.parse(until), a + 1000);
  let at = Math.min(b, Math.max(a, Date.parse(chosen)));
  const id = uid("moment");
  const slider = h("input", { type: "range", min: 0, max: 1000, "aria-label": "Moment within the range" });
  const exact = h("input", { id, type: "datetime-local", step: 1, min: local(a), max: local(b) });
  const words = h("output", {});
  const bad = h("p", { class: "bad-text", role: "alert" });

  function draw(but) {
    if (but !== slider) slider.value = (at - a) / (b - a) * 1000;
    if (but !== exact) exact.value = local(at);
    slider.setAttribute("aria-valuetext", `${second(new Date(at).toISOString())} UTC`);
    words.textContent = b - at < 60000 ? "the newest there is" : `${span(b - at)} before the newest`;
    bad.textContent = "";
  }
  slider.addEventListener("input", () => { at = Math.round((a + slider.value / 1000 * (b - a)) / 1000) * 1000; at = Math.min(b, Math.max(a, at)); draw(slider); });
  exact.addEventListener("change", () => {
    const typed = Date.parse(`${exact.value}Z`);
    if (Number.isNaN(typed) || typed < a - 1000 || typed > b + 1000) bad.textContent = `Choose a time from ${minute(from)} to ${minute(until)} UTC.`;
    else { at = Math.min(b, Math.max(a, typed)); draw(exact); }
  });
  draw();
  return {
    node: h("div", { class: "picker" }, slider,
      s("svg", { class: "marks", viewBox: "0 0 1000 6", preserveAspectRatio: "none", "aria-hidden": "true" }, marks.map(m => s("path", { d: `M${1 + (Date.parse(m) - a) / (b - a) * 998} 0V6` }))),
      h("div", { class: "ends" }, h("span", {}, minute(from)), h("span", {}, minute(until))),
      h("div", { class: "exact" }, h("label", { for: id }, "Exact time, UTC"), exact, words), bad),
    value: () => at >= b - 999 ? until : `${local(at)}Z`,
  };
}
