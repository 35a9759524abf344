/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log, newest first.  The API gives entries in the order of the chain, so that what is shown is read from its end. */
import { h } from "../dom.js";
import { number, plural, second, when } from "../format.js";
import { get } from "../api.js";
import { on } from "../store.js";
import { action, problem } from "../ui/actions.js";
import { icon } from "../ui/icons.js";
import { table } from "../ui/table.js";

export const title = "Audit";
const CHUNK = 500;

const linked = (name, value) => typeof value === "string" && name === "database" ? h("a", { href: `#/databases/${encodeURIComponent(value)}` }, value) :
  typeof value === "string" && /^[0-9a-f]{8}$/.test(value) ? h("a", { class: "mono", href: `#/keys/${value}` }, value) : h("span", {}, typeof value === "object" ? JSON.stringify(value) : String(value));
const details = d => d && typeof d === "object" ? h("span", { class: "pairs" }, Object.entries(d).map(([k, v]) => h("span", {}, h("i", {}, k), linked(k, v)))) : d ?? "";

const columns = [
  { title: "#", class: "num c-seq", cell: e => h("span", { class: "dim" }, number(e.seq)) },
  { title: "Time, UTC", class: "c-time", cell: e => when(e.at, second) },
  { title: "Event", cell: e => h("b", { class: "event" }, e.event) },
  { title: "Who", cell: e => e.who || "–" },
  { title: "Details", class: "c-details", cell: e => details(e.details) },
];

export async function page({ query, setQuery, signal }) {
  const filter = { event: query.get("event") ?? "", who: query.get("who") ?? "" };
  let entries = [], below = 0, wait = 0;
  const place = h("div", { "aria-live": "polite" }), trouble = h("div", {});
  const grid = table({ caption: "Audit log, newest first", columns, key: e => String(e.seq), page: 50, dense: true, empty: h("p", { class: "empty" }, "No entry matches.") });
  const more = h("div", { class: "actions" });

  const ask = (after, limit) => {
    const q = new URLSearchParams({ after, limit });
    for (const [k, v] of Object.entries(filter)) if (v) q.set(k, v);
    return get(`/audit?${q}`, { signal });
  };

  function banner(answer) {
    const good = answer.verified === true;
    place.replaceChildren(h("div", { class: `verdict ${good ? "good" : "bad"}` }, icon(good ? "check" : "fail"), h("div", {},
      h("b", {}, good ? "The chain is whole" : "The chain is broken"), h("p", {}, good ? `${plural(answer.count, "entry", "entries")}, each with the hash of the one before, up to the mark in the keyring. Checked just now.` :
        answer.error ? answer.error : "An entry was changed, removed or put in. Compare with a copy of the log: coffer audit verify says where."))));
  }

  async function read() {
    trouble.replaceChildren();
    try {
      const head = await ask(0, 1);
      banner(head);
      const filtered = filter.event || filter.who;
      below = filtered ? 0 : Math.max(0, head.count - CHUNK);
      entries = [];
      for (let after = below;;) {
        const { entries: part } = await ask(after, CHUNK);
        entries.push(...part);
        if (part.length < CHUNK) break;
        after = part.at(-1).seq;
      }
      draw();
    } catch (error) {
      if (error.name !== "AbortError") trouble.replaceChildren(problem(error, read));
    }
  }
  async function older() {
    const from = Math.max(0, below - CHUNK);
    const { entries: part } = await ask(from, below - from);
    entries = [...part, ...entries];
    below = from;
    draw();
  }
  function draw() {
    grid.update([...entries].reverse());
    more.replaceChildren(...below > 0 ? [action({ label: `Read ${number(Math.min(CHUNK, below))} older entries`, run: older })] : []);
  }
  const box = (name, label, placeholder, type) => h("input", { type, "aria-label": label, placeholder, value: filter[name], autocomplete: "off", spellcheck: "false", on: { input: e => {
    filter[name] = e.target.value.trim();
    clearTimeout(wait);
    wait = setTimeout(() => { setQuery(filter); grid.first(); read(); }, 200);
  } } });
  on("reset", read, signal);
  await read();
  return h("div", { class: "page" }, h("div", { class: "head" }, h("div", {}, h("h1", { tabindex: "-1" }, title))), place,
    h("div", { class: "bar", role: "search" }, h("div", { class: "search" }, icon("search"), box("event", "Filter by event", "Event: key, backup, database.destroy", "search"), h("kbd", { "aria-hidden": "true" }, "/")), h("div", { class: "search short" }, box("who", "Filter by person", "Who", "text"))), trouble, grid.node, more);
}
