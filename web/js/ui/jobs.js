/* SPDX-License-Identifier: Apache-2.0 */
/* A job as it goes: bar, rate with its recent course, time left, added latency, pause, resume, cancel, throttle.
 *
 * jobCard(job) → {node, update(job)}.  A screen reader hears of each tenth of the way, not of each event.
 */
import { h, s, setText } from "../dom.js";
import { amount, bytes, left, when } from "../format.js";
import { post } from "../api.js";
import { put, samples } from "../store.js";
import { action } from "./actions.js";
import { state } from "./badges.js";

const WORDS = { create: "Create", rotate: "Rotate disk key", "rotate-field": "Rotate field key", move: "Move to another stack", protect: "Protect columns",
  backup: "Back up", restore: "Restore", verify: "Verify backup", doctor: "Doctor", destroy: "Destroy", resize: "Resize", expire: "Expire backup" };
const RATE_TOP = 1024; // MiB/s at the right end of the slider, which is logarithmic and means "no limit"

/* How much slower others are served, as a factor: 1.2 is a fifth slower. */
const slower = factor => !factor ? "–" : factor < 1.005 ? "none" : `+${Math.round((factor - 1) * 100)} %`;

export const methodOf = job => job.result?.method ?? job.request?.method ?? (/^rotate-(?!field)(.+)/.exec(job.kind)?.[1] ?? null);
export const jobTitle = job => WORDS[job.kind] ?? (job.kind.startsWith("rotate-") ? WORDS.rotate : job.kind);
export const isRotation = job => job.kind.startsWith("rotate") || job.kind === "move" || job.kind === "protect";
export const isOver = job => ["done", "cancelled", "failed"].includes(job.state);

function sparkPath(list, width, height) {
  const top = Math.max(...list.map(p => p.rate), 1) * 1.15;
  const x = i => list.length < 2 ? 0 : i / (list.length - 1) * width;
  return list.map((p, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${(height - p.rate / top * height).toFixed(1)}`).join("");
}

function spark() {
  const area = s("path", { class: "area" }), line = s("path", { class: "line" });
  const node = s("svg", { class: "spark", viewBox: "0 0 240 40", preserveAspectRatio: "none", role: "img", "aria-label": "Course of the rate" }, area, line);
  return { node, update(list) {
    const d = list.length > 1 ? sparkPath(list, 240, 40) : "";
    line.setAttribute("d", d);
    area.setAttribute("d", d && `${d}L240 40L0 40Z`);
  } };
}

/* 0…100 ↔ 1 MiB/s … 1 GiB/s; 100 is no limit. */
const rateOf = at => at >= 100 ? null : Math.round(2 ** (at / 10)) * 1048576;
const rateWords = at => at >= 100 ? "no limit" : `${bytes(rateOf(at))}/s`;

function throttle(id) {
  const output = h("output", {}, "no limit");
  const slider = h("input", { type: "range", min: 0, max: 100, value: 100, "aria-label": "Throttle: highest rate", "aria-valuetext": "no limit" });
  slider.addEventListener("input", () => { output.textContent = rateWords(Number(slider.value)); slider.setAttribute("aria-valuetext", output.textContent); });
  const problemPlace = h("p", { class: "bad-text", role: "alert" });
  slider.addEventListener("change", async () => {
    try {
      problemPlace.textContent = "";
      put("jobs", await post(`/jobs/${id}/throttle`, { rate: rateOf(Number(slider.value)) ?? RATE_TOP * 1048576 * 1024 }));
    } catch (error) {
      problemPlace.textContent = error.message;
    }
  });
  return h("div", { class: "throttle" }, h("span", {}, "Throttle"), slider, output, problemPlace);
}

export function jobCard(first, { where = true } = {}) {
  const id = first.id;
  const fact = label => { const dd = h("dd", {}); return { dd, node: h("div", {}, h("dt", {}, label), dd) }; };
  const facts = { rate: fact("Rate"), left: fact("Time left"), latency: fact("Added latency"), step: fact("Step") };
  const badge = h("span", {}), percent = h("b", { class: "percent" }), count = h("span", { class: "dim" });
  const bar = h("progress", { max: 1, "aria-label": `Progress of ${jobTitle(first).toLowerCase()}` });
  const said = h("p", { class: "vh", role: "status" });
  const curve = spark(), messages = h("ol", { class: "messages" }), failure = h("p", { class: "bad-text" }), buttons = h("div", { class: "row-actions" });
  let slider = null, actions = "", tenth = -1;

  const act = (verb, label, icon, kind) => action({ label, icon, kind, small: true, role: "operator", run: async () => put("jobs", await post(`/jobs/${id}/${verb}`)) });
  const live = h("div", { class: "job-live" }, curve.node, h("dl", { class: "facts tight" }, facts.rate.node, facts.left.node, facts.latency.node, facts.step.node));
  const throttlePlace = h("div", {});
  const method = methodOf(first);
  const node = h("article", { class: "card job", "aria-label": `${jobTitle(first)} ${first.name ?? ""}` },
    h("header", {}, h("div", {}, h("h3", {}, jobTitle(first), where && first.name && [" ", h("a", { href: `#/databases/${encodeURIComponent(first.name)}` }, first.name)]),
      h("p", { class: "dim" }, `job ${id}`, method ? ` · ${method}` : "", " · begun ", when(first.created))), badge, buttons),
    h("div", { class: "job-bar" }, percent, bar, count), live, throttlePlace, failure, messages, said);

  function update(job) {
    const part = job.total > 0 ? Math.min(1, job.done / job.total) : null;
    badge.replaceChildren(state(job.state, true));
    if (part === null) bar.removeAttribute("value"); else bar.value = part;
    bar.parentElement.hidden = part === null && job.state !== "running";
    setText(percent, part === null ? "" : `${Math.floor(part * 100)} %`);
    setText(count, part === null ? "" : `${amount(job.done, job.unit)} of ${amount(job.total, job.unit)}`);
    setText(facts.rate.dd, job.state === "running" && job.rate ? `${amount(job.rate, job.unit)}/s` : "–");
    setText(facts.left.dd, job.state === "running" ? left(job.seconds_left) : "–");
    setText(facts.latency.dd, slower(job.latency));
    setText(facts.step.dd, job.step || "–");
    const course = samples.get(id) ?? [];
    curve.node.style.display = course.length > 1 ? "" : "none";
    curve.update(course);
    live.hidden = isOver(job);
    setText(failure, job.error ? job.error.message ?? job.error : "");
    messages.replaceChildren(...(job.messages ?? []).slice(-4).map(m => h("li", {}, when(m.at), " ", m.text)));
    const want = job.state === "running" ? "run" : job.state === "paused" || job.state === "failed" ? "wait" : "over";
    if (want !== actions) {
      actions = want;
      buttons.replaceChildren(...want === "run" ? [act("pause", "Pause", "pause"), act("cancel", "Cancel", "close", "quiet")] :
        want === "wait" ? [act("resume", "Resume", "play", "primary"), act("cancel", "Cancel", "close", "quiet")] : []);
      if (want === "run" && job.kind === "rotate" && !slider) throttlePlace.append(slider = throttle(id));
      throttlePlace.hidden = want === "over";
    }
    const now = part === null ? -1 : Math.floor(part * 10);
    if (now !== tenth || isOver(job)) {
      tenth = now;
      setText(said, `${jobTitle(job)} ${job.name ?? ""}: ${job.state}${part === null ? "" : `, ${Math.floor(part * 100)} percent`}`);
    }
  }
  update(first);
  return { node, update };
}
