/* SPDX-License-Identifier: Apache-2.0 */
/* Backups: what there is, which keys each needs, and back to any moment that they reach. */
import { h } from "../dom.js";
import { bytes, number, plural } from "../format.js";
import { post } from "../api.js";
import { load, on } from "../store.js";
import { action } from "../ui/actions.js";
import { dialog, field, select, choices } from "../ui/dialog.js";
import { icon } from "../ui/icons.js";
import { picker } from "../ui/picker.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";
import { backupColumns, reaches, restoreDialog } from "./backup-parts.js";

export const title = "Backups";

export async function page({ query, setQuery, signal }) {
  let [list, databases] = await Promise.all([load("backups"), load("databases")]);
  const filter = { q: query.get("q") ?? "", database: query.get("database") ?? "", state: query.get("state") ?? "" };
  const summary = h("p", { class: "summary" });
  const grid = table({ caption: "Backups", columns: backupColumns(), key: b => b.id, sort: [0, -1], page: 25,
    empty: () => h("p", { class: "empty" }, list.size ? "No backup matches." : "There are no backups yet. One is encrypted under its own key as it is taken; nothing of it lies on disk in the clear.") });
  const set = (name, value) => { filter[name] = value; setQuery(filter); grid.first(); draw(); };
  const matches = b => (!filter.database || b.database === filter.database) && (filter.state ? b.state === filter.state : b.state !== "expired") &&
    (!filter.q || `${b.database} ${b.name} ${b.id} ${b.kind} ${(b.needs ?? []).join(" ")}`.includes(filter.q.trim().toLowerCase()));

  function draw() {
    const rows = [...list.values()], kept = rows.filter(b => b.state === "complete");
    summary.textContent = [plural(kept.length, "backup"), bytes(kept.reduce((n, b) => n + (b.bytes ?? 0), 0)), `${number(kept.filter(b => b.verified).length)} verified by a restore`].join(" · ");
    grid.update(rows.filter(matches));
  }

  const options = (label, list2, now) => [["", label], ...list2.map(v => [v, v])].map(([v, t]) => h("option", { value: v, selected: v === now }, t));
  const names = () => [...new Set([...list.values()].map(b => b.database))].sort();
  const bar = h("div", { class: "bar", role: "search" }, h("div", { class: "search" }, icon("search"), h("input", { type: "search", "aria-label": "Search backups", placeholder: "Search by database, name, key", value: filter.q,
    autocomplete: "off", spellcheck: "false", on: { input: e => set("q", e.target.value) } }), h("kbd", { "aria-hidden": "true" }, "/")),
  h("select", { "aria-label": "Any database", on: { change: e => { set("database", e.target.value); moment.replaceWith(moment = momentCard()); } } }, options("Any database", names(), filter.database)),
  h("select", { "aria-label": "Any state", on: { change: e => set("state", e.target.value) } }, options("Any that is kept", ["complete", "running", "failed", "expired"], filter.state)));

  /* To a moment: the newest backup that begins before it is what it is restored from. */
  function momentCard() {
    const reach = [...list.values()].filter(reaches);
    const from = [...new Set(reach.map(b => b.database))].sort();
    if (!from.length) return h("div", {});
    const place = h("div", {});
    let pick = null, mine = [];
    const choose = name => {
      mine = reach.filter(b => b.database === name).sort((a, b) => a.from.localeCompare(b.from));
      const until = mine.map(b => b.until).sort().at(-1);
      pick = picker(mine[0].from, until, until, mine.map(b => b.from));
      place.replaceChildren(pick.node);
    };
    const now = from.includes(filter.database) ? filter.database : from[0];
    const which = h("select", { "aria-label": "Database to restore", on: { change: e => choose(e.target.value) } }, from.map(n => h("option", { value: n, selected: n === now }, n)));
    choose(now);
    return h("section", { class: "card moment", "aria-label": "Back to a moment" }, h("div", { class: "section-head" }, h("h2", {}, "Back to a moment"), which), place,
      h("div", { class: "actions" }, action({ label: "Restore to this moment", icon: "backup", role: "operator", run: () => restoreDialog(mine.filter(b => b.from <= pick.value()).at(-1) ?? mine[0], pick.value()) })));
  }
  let moment = momentCard();

  on("backup", draw, signal);
  on("reset", async () => { list = await load("backups"); draw(); }, signal);
  draw();
  return h("div", { class: "page" }, h("div", { class: "head" }, h("div", {}, h("h1", { tabindex: "-1" }, title), summary),
    h("div", { class: "actions" }, action({ label: "Back up", icon: "plus", kind: "primary", role: "operator", blocked: databases.size ? null : "There is no database", run: () => take([...databases.keys()], filter.database) }))), moment, bar, grid.node);
}

function take(names, chosen) {
  dialog({ title: "Back up a database", submit: "Back up", lead: "It stays in use. The stream is encrypted as it is read.", body: [
    field("Database", select("database", names.map(n => [n, n]), chosen || names[0])),
    choices("Kind", "kind", [{ value: "physical", title: "Physical", text: "The server's files with their log: quick, and any point in time afterwards." },
      { value: "logical", title: "Logical", text: "A dump, which newer versions of the engine can read, too." }], "physical")],
  run: async form => { const answer = await post("/backups", { database: form.get("database"), kind: form.get("kind") }); toast(`Backup begun (job ${answer?.job ?? "–"})`); } });
}
