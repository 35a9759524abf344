/* SPDX-License-Identifier: Apache-2.0 */
/* All keys: where in its life each is, and what holds it there. */
import { h } from "../dom.js";
import { number, plural, when } from "../format.js";
import { load, on } from "../store.js";
import { badge, state } from "../ui/badges.js";
import { icon } from "../ui/icons.js";
import { lifeline, MEANING, STATES } from "../ui/lifecycle.js";
import { table } from "../ui/table.js";

export const title = "Keys";

const entered = k => k.states?.[k.state] ?? null;
const counts = k => k.held_counts && Object.entries(k.held_counts).map(([what, n]) => plural(n, what)).join(", ");
const holds = k => !k.held_by ? counts(k) || (k.databases ?? []).join(", ") || null : k.held_by.length ? k.held_by.length === 1 ? `${k.held_by[0].kind} ${k.held_by[0].name}` : plural(k.held_by.length, "thing") : null;

/* A volume's line is named by its id, which nobody knows by heart. */
export const lineName = k => k.line?.startsWith("volume/") ? k.databases?.[0] ?? k.line.slice(7, 15) : k.line || "–";

const columns = [
  { title: "Key", sort: k => k.id, cell: k => h("a", { class: "mono row-link", href: `#/keys/${k.id}` }, k.id) },
  { title: "State", sort: k => STATES.indexOf(k.state), cell: k => [state(k.state), k.compromised ? badge("compromised", "bad") : ""] },
  { title: "Purpose", sort: k => k.purpose, cell: k => k.purpose },
  { title: "Line", class: "c-line", sort: k => k.line, cell: k => [lineName(k), k.version ? h("span", { class: "dim" }, ` v${k.version}`) : ""] },
  { title: "Life", class: "c-life", cell: k => lifeline(k) },
  { title: "Since", sort: entered, first: -1, cell: k => when(entered(k)) },
  { title: "Held by", class: "c-held", sort: k => k.held_by?.length ?? 0, first: -1, cell: k => [holds(k) ?? h("span", { class: "dim" }, k.held_by ? "nothing" : "–"), " ",
    k.approvals?.length && k.state !== "destroyed" ? badge(`${k.approvals.length} of 2 approved`, "warn") : ""] },
];

export async function page({ query, setQuery, signal }) {
  let list = await load("keys");
  const filter = { q: query.get("q") ?? "", state: query.get("state") ?? "", purpose: query.get("purpose") ?? "" };
  const grid = table({ caption: "Keys", columns, key: k => k.id, sort: [1, 1], empty: () => h("p", { class: "empty" }, list.size ? "No key matches." : "There are no keys yet: the first database brings one.") });
  const bar = h("div", { class: "states", role: "group", "aria-label": "Filter by state" });
  const summary = h("p", { class: "summary" });

  const set = (name, value) => { filter[name] = value; setQuery(filter); grid.first(); draw(); };
  const matches = k => (!filter.state || k.state === filter.state) && (!filter.purpose || k.purpose === filter.purpose) &&
    (!filter.q || `${k.id} ${k.purpose} ${k.line} ${(k.databases ?? []).join(" ")}`.includes(filter.q.trim().toLowerCase()));

  const buttons = new Map(STATES.map(name => {
    const count = h("b", {});
    const node = h("button", { type: "button", class: `st l-${name}`, "data-tip": MEANING[name], on: { click: () => set("state", filter.state === name ? "" : name) } }, count, h("span", {}, name));
    return [name, { node, count }];
  }));
  bar.append(...[...buttons.values()].map(b => b.node));

  function draw() {
    const rows = [...list.values()];
    for (const [name, { node, count }] of buttons) {
      const n = rows.filter(k => k.state === name).length;
      count.textContent = number(n);
      node.setAttribute("aria-pressed", String(filter.state === name));
      node.classList.toggle("zero", n === 0);
    }
    const bad = rows.filter(k => k.compromised && k.state !== "destroyed").length;
    summary.textContent = [plural(rows.length, "key"), bad && `${number(bad)} compromised`, "two custodians must approve before one is destroyed"].filter(Boolean).join(" · ");
    grid.update(rows.filter(matches));
  }
  const purposes = [...new Set([...list.values()].map(k => k.purpose))].sort();
  const search = h("div", { class: "bar", role: "search" }, h("div", { class: "search" }, icon("search"),
    h("input", { type: "search", "aria-label": "Search keys", placeholder: "Search by id, purpose, line, database", value: filter.q, autocomplete: "off", spellcheck: "false", on: { input: e => set("q", e.target.value) } }), h("kbd", { "aria-hidden": "true" }, "/")),
  h("select", { "aria-label": "Any purpose", on: { change: e => set("purpose", e.target.value) } }, [["", "Any purpose"], ...purposes.map(p => [p, p])].map(([v, t]) => h("option", { value: v, selected: v === filter.purpose }, t))));

  on("key", draw, signal);
  on("reset", async () => { list = await load("keys"); draw(); }, signal);
  draw();
  return h("div", { class: "page" }, h("div", { class: "head" }, h("div", {}, h("h1", { tabindex: "-1" }, title), summary)), bar, search, grid.node);
}
