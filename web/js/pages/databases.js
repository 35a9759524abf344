/* SPDX-License-Identifier: Apache-2.0 */
/* All databases: how each is encrypted, and how it is. */
import { h } from "../dom.js";
import { bytes, number, plural, parseBytes, when, brief } from "../format.js";
import { post } from "../api.js";
import { load, stacks, on } from "../store.js";
import { action } from "../ui/actions.js";
import { cipherBadge, engineMark, engineTitle, state, keyId } from "../ui/badges.js";
import { dialog, field, input, select, choices } from "../ui/dialog.js";
import { icon } from "../ui/icons.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";

export const title = "Databases";

const ENGINES = ["postgresql", "mariadb", "redis", "sqlite"];
const keyAge = d => d.key_created ? brief(Date.now() - new Date(d.key_created)) : "–";

const columns = [
  { title: "Name", class: "c-name", sort: d => d.name, cell: d => h("a", { href: `#/databases/${encodeURIComponent(d.name)}`, class: "row-link" }, engineMark(d.engine), h("span", {}, d.name)) },
  { title: "State", class: "c-state", sort: d => d.state, cell: d => state(d.state) },
  { title: "Engine", class: "c-engine", sort: d => d.engine, cell: d => [engineTitle(d.engine), " ", h("span", { class: "dim" }, d.version)] },
  { title: "Stack", class: "c-stack", sort: d => d.stack, cell: d => d.stack },
  { title: "Cipher", class: "c-cipher", sort: d => d.cipher, cell: d => [cipherBadge(d.cipher), h("span", { class: "dim format" }, d.format)] },
  { title: "Disk key, age", class: "c-key", sort: d => d.key_created, cell: d => [keyId(d.key_id), h("span", { class: "dim" }, ` ${keyAge(d)}`)] },
  { title: "Size", class: "num c-size", sort: d => d.size, first: -1, cell: d => h("span", { title: d.limit ? `Limit ${bytes(d.limit)}` : null }, bytes(d.size)) },
  { title: "Last backup", class: "c-backup", sort: d => d.last_backup, first: -1, cell: d => d.last_backup ? when(d.last_backup, iso => `${brief(Date.now() - new Date(iso))} ago`) : h("span", { class: "dim" }, "never") },
];

const any = (label, values) => [["", label], ...values];

export async function page({ query, setQuery, signal }) {
  let list = await load("databases");
  const filter = { q: query.get("q") ?? "", engine: query.get("engine") ?? "", cipher: query.get("cipher") ?? "", state: query.get("state") ?? "" };
  let order = query.get("sort")?.split(".").map(Number) ?? [0, 1], at = Number(query.get("page") ?? 0);

  const summary = h("p", { class: "summary" });
  const grid = table({ caption: "Databases", name: "databases", columns, key: d => d.name, sort: order, start: at, changed: (s, p) => { order = s; at = p; keep(); },
    empty: () => list.size ? h("div", { class: "empty" }, h("p", {}, "No database matches."), h("button", { type: "button", on: { click: clear } }, "Clear the filter")) :
      h("div", { class: "empty" }, h("h2", {}, "No databases yet"), h("p", {}, "A database made here is encrypted from its first byte, with AES-256. Nobody has to ask for it."), create()) });

  function keep() {
    setQuery({ ...filter, sort: order[0] === 0 && order[1] === 1 ? "" : order.join("."), page: at || "" });
  }
  const matches = d => (!filter.q || `${d.name} ${d.engine} ${d.stack} ${d.key_id}`.includes(filter.q.trim().toLowerCase())) &&
    (!filter.engine || d.engine === filter.engine) && (!filter.cipher || d.cipher === filter.cipher) && (!filter.state || d.state === filter.state);

  function draw() {
    const rows = [...list.values()];
    const count = word => rows.filter(d => d.state === word).length;
    const old = rows.filter(d => d.cipher === "aes-192").length;
    const parts = [plural(rows.length, "database"), `${number(rows.length - old)} AES-256`, old && `${number(old)} AES-192`, `${number(count("running"))} running`,
      count("failed") && `${number(count("failed"))} failed`, bytes(rows.reduce((sum, d) => sum + (d.size ?? 0), 0))];
    summary.textContent = parts.filter(Boolean).join(" · ");
    grid.update(rows.filter(matches));
  }
  function set(name, value) {
    filter[name] = value;
    at = 0;
    grid.first();
    keep();
    draw();
  }
  function clear() {
    for (const control of bar.querySelectorAll("input, select")) control.value = "";
    for (const name of Object.keys(filter)) filter[name] = "";
    keep();
    draw();
    bar.querySelector("input").focus();
  }

  const search = h("input", { type: "search", "aria-label": "Search databases", placeholder: "Search by name, engine, stack, key", value: filter.q,
    autocomplete: "off", spellcheck: "false", on: { input: e => set("q", e.target.value) } });
  const pick = (name, label, values) => h("select", { "aria-label": label, on: { change: e => set(name, e.target.value) } },
    any(label, values).map(([v, t]) => h("option", { value: v, selected: v === filter[name] }, t)));
  const bar = h("div", { class: "bar", role: "search" }, h("div", { class: "search" }, icon("search"), search, h("kbd", { "aria-hidden": "true" }, "/")),
    pick("engine", "Any engine", ENGINES.map(e => [e, engineTitle(e)])), pick("cipher", "Any cipher", [["aes-256", "AES-256"], ["aes-192", "AES-192"]]),
    pick("state", "Any state", ["running", "stopped", "failed", "creating", "starting", "stopping", "destroying"].map(s => [s, s])));

  on("database", draw, signal);
  on("reset", async () => { list = await load("databases"); draw(); }, signal);
  draw();
  return h("div", { class: "page" }, h("div", { class: "head" }, h("div", {}, h("h1", { tabindex: "-1" }, title), summary), h("div", { class: "actions" }, create())), bar, grid.node);
}

const create = () => action({ label: "Create database", icon: "plus", kind: "primary", role: "operator", run: async () => createDialog(await stacks()) });

function createDialog(all) {
  const name = input("name", { required: true, placeholder: "clinic", pattern: "[a-z][a-z0-9-]*" });
  dialog({
    title: "Create a database", lead: "Its whole data folder lies on an encrypted volume: tables, logs, temporary files.", submit: "Create", wide: true,
    ready: form => form.elements.name.value.trim() !== "",
    body: [
      field("Name", name, "A small letter, then small letters, digits and hyphens."),
      choices("Engine", "engine", [
        { value: "postgresql", title: "PostgreSQL", text: "Server. Physical backups, any point in time." },
        { value: "mariadb", title: "MariaDB", text: "Server, compatible with MySQL." },
        { value: "redis", title: "Redis", text: "Server, persistent." },
        { value: "sqlite", title: "SQLite", text: "A file in the mounted folder; no server." }], "postgresql"),
      h("div", { class: "columns" },
        field("Stack", select("stack", all.map(s => [s.name, `${s.name} (${s.version}, ${s.cipher.toUpperCase()})`]), "main"), "New stacks are AES-256; v1 is for what is moved from old systems."),
        field("Version", input("version", { placeholder: "newest installed" }), "Major version of the engine.")),
      h("div", { class: "columns" },
        field("Size limit", input("limit", { placeholder: "none" }), "For example 20 GiB. It can be changed later."),
        field("Memory for caches", input("memory", { placeholder: "engine's default" }), "For example 512 MiB.")),
      h("label", { class: "check" }, h("input", { type: "checkbox", name: "archive", checked: true }), h("span", {}, "Keep the log of changes, so that any point in time can be restored")),
    ],
    run: async form => {
      const body = { name: form.get("name").trim(), engine: form.get("engine"), stack: form.get("stack") };
      if (form.get("version").trim()) body.version = form.get("version").trim();
      for (const part of ["limit", "memory"]) {
        const text = form.get(part).trim();
        if (!text) continue;
        body[part] = parseBytes(text);
        if (!(body[part] > 0)) throw new Error(`"${text}" is no size: write for example 20 GiB`);
      }
      if (form.get("archive") && body.engine !== "sqlite" && body.engine !== "redis") body.archive = true;
      await post("/databases", body);
      toast(`Creating ${body.name}`);
      await load("databases", true);
      location.hash = `#/databases/${encodeURIComponent(body.name)}`;
    },
  });
}
