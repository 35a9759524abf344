/* SPDX-License-Identifier: Apache-2.0 */
/* What is at work now, with its course, and what was. */
import { h } from "../dom.js";
import { bytes, duration, number, plural, when } from "../format.js";
import { load, on } from "../store.js";
import { keyId, state } from "../ui/badges.js";
import { isOver, isRotation, jobCard, jobTitle, methodOf } from "../ui/jobs.js";
import { table } from "../ui/table.js";

export const title = "Rotations";

const took = j => new Date(j.updated) - new Date(j.created);
const moved = j => j.result?.bytes !== undefined ? bytes(j.result.bytes) : j.result?.rows !== undefined ? plural(j.result.rows, "row") : j.total ? j.unit === "bytes" ? bytes(j.done) : `${number(j.done)} ${j.unit}` : "–";
const columns = [
  { title: "Job", sort: j => j.id, first: -1, cell: j => h("span", { class: "mono" }, String(j.id)) },
  { title: "What", sort: j => j.kind, cell: j => jobTitle(j) },
  { title: "Database", sort: j => j.name, cell: j => j.name ? h("a", { href: `#/databases/${encodeURIComponent(j.name)}` }, j.name) : "–" },
  { title: "State", sort: j => j.state, cell: j => state(j.state, true) },
  { title: "Method", cell: j => methodOf(j) ?? "–" },
  { title: "Downtime", class: "num", sort: j => j.result?.downtime_ms, first: -1, cell: j => duration(j.result?.downtime_ms) },
  { title: "Moved", class: "num", cell: moved },
  { title: "Took", class: "num", sort: took, first: -1, cell: j => duration(took(j)) },
  { title: "Keys", class: "c-change", cell: j => j.result?.new_key_id ? h("span", { class: "change" }, keyId(j.result.old_key_id), " → ", keyId(j.result.new_key_id)) : "–" },
  { title: "Ended", sort: j => j.updated, first: -1, cell: j => when(j.updated) },
];

export async function page({ query, setQuery, signal }) {
  let jobs = await load("jobs");
  let every = query.get("all") === "1";
  const live = h("div", { class: "cards" }), cards = new Map(), summary = h("p", { class: "summary", role: "status" });
  const idle = h("div", { class: "empty slim" }, h("p", {}, "Nothing is at work. A rotation begins on the page of a database, and is seen here."));
  const grid = table({ caption: "Past jobs", columns, key: j => String(j.id), sort: [0, -1], page: 25, empty: h("p", { class: "empty slim" }, "Nothing was rotated yet.") });

  /* What failed stays above: somebody has to decide about it. */
  const above = j => !isOver(j) || (j.state === "failed" && isRotation(j));

  function draw() {
    const list = [...jobs.values()].sort((a, b) => b.id - a.id), now = list.filter(above);
    for (const [id, c] of cards) if (!now.some(j => j.id === id)) { c.node.remove(); cards.delete(id); }
    for (const j of now) {
      if (cards.has(j.id)) cards.get(j.id).update(j);
      else { cards.set(j.id, jobCard(j)); live.append(cards.get(j.id).node); }
    }
    idle.hidden = now.length > 0;
    const count = word => now.filter(j => j.state === word).length;
    const words = [["running", count("running")], ["paused", count("paused")], ["failed", count("failed")]].filter(([, n]) => n).map(([w, n]) => `${number(n)} ${w}`).join(" · ");
    if (summary.textContent !== words) summary.textContent = words || "Nothing is at work";
    grid.update(list.filter(j => !above(j) && (every || isRotation(j))));
  }
  on("job", j => {
    const card = cards.get(j.id);
    if (card && above(j)) card.update(jobs.get(j.id)); else draw();
  }, signal);
  on("reset", async () => { jobs = await load("jobs"); draw(); }, signal);
  draw();
  return h("div", { class: "page" }, h("div", { class: "head" }, h("div", {}, h("h1", { tabindex: "-1" }, title), summary)), idle, live,
    h("div", { class: "section-head loose" }, h("h2", {}, "Before"), h("label", { class: "check" }, h("input", { type: "checkbox", checked: every, on: { change: e => { every = e.target.checked; setQuery({ all: every ? "1" : "" }); draw(); } } }), h("span", {}, "All kinds of jobs"))), grid.node);
}
