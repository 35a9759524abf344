/* SPDX-License-Identifier: Apache-2.0 */
/* One database: everything that is known of it, and everything that can be done with it. */
import { h } from "../dom.js";
import { bytes, duration, number, plural, when, day, parseBytes, second, span } from "../format.js";
import { get, post, put as send, enc, may } from "../api.js";
import { detail, load, on, put } from "../store.js";
import { action, begin, copyButton, problem } from "../ui/actions.js";
import { badge, cipherBadge, engineMark, engineTitle, grade, keyId, state } from "../ui/badges.js";
import { dialog, field, input } from "../ui/dialog.js";
import { icon } from "../ui/icons.js";
import { isOver, jobCard, methodOf } from "../ui/jobs.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";
import { rotateDisk, rotateField, moveStack, destroy } from "./database-dialogs.js";
import { backupColumns } from "./backup-parts.js";

export const title = ([name]) => name;

const section = (heading, actions, ...body) => h("section", { class: "card", "aria-label": heading },
  h("header", { class: "section-head" }, h("h2", {}, heading), actions && h("div", { class: "actions" }, actions)), body);
const facts = pairs => h("dl", { class: "facts" }, pairs.filter(Boolean).map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v ?? "–"))));
const none = text => h("p", { class: "none" }, text);
const path = text => h("code", { class: "path" }, text);

export async function page({ params: [name], signal }) {
  let db = await detail(name, signal);
  const jobs = await load("jobs").catch(() => new Map());
  const node = h("div", { class: "page" });
  const jobPlace = h("div", { class: "job-place" });
  let card = null;

  async function again() {
    try { db = await detail(name, signal); draw(); } catch (e) { if (e.name !== "AbortError") draw(e); }
  }
  const timer = { id: 0 };
  const soon = () => { clearTimeout(timer.id); timer.id = setTimeout(again, 150); };
  signal.addEventListener("abort", () => clearTimeout(timer.id));

  function showJob(job) {
    if (card?.id !== job.id) { card = { id: job.id, ...jobCard(job, { where: false }) }; jobPlace.replaceChildren(card.node); }
    else card.update(job);
  }
  on("job", job => {
    if (job.name !== name) return;
    if (!isOver(job) || card?.id === job.id) showJob(job);
    if (isOver(job)) soon();
  }, signal);
  on("database", d => {
    if (d.name !== name) return;
    const later = d.state !== db.state || d.key_id !== db.key_id;
    db = { ...db, ...d };
    draw();
    if (later) soon();
  }, signal);
  on("backup", b => { if (b.database === name) soon(); }, signal);
  on("reset", soon, signal);

  const lines = logs(name);
  const url = connection(name, () => db);
  const keep = retention(name);

  function draw(error) {
    if (error?.code === 404) return gone();
    const running = [...jobs.values()].find(j => j.name === name && !isOver(j)) ?? (db.job && jobs.get(db.job));
    if (running && !card) showJob(running);
    node.replaceChildren(
      h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: "#/databases" }, "Databases"), icon("next"), h("span", { "aria-current": "page" }, name)),
      h("div", { class: "head" }, h("div", {}, h("h1", { tabindex: "-1" }, engineMark(db.engine), name),
        h("p", { class: "summary" }, state(db.state), "· ", engineTitle(db.engine), " ", db.version, " · stack ", db.stack, " · made ", when(db.created, day))),
      h("div", { class: "actions" }, power(), action({ label: "Back up", icon: "backup", role: "operator", run: () => begin("/backups", { database: name }, "Backup begun") }),
        action({ label: "Rotate disk key", icon: "rotate", kind: "primary", role: "operator", blocked: db.job && `Job ${db.job} is at work on it`, run: () => rotateDisk(db) }))),
      error ? problem(error, again) : "", db.error ? h("div", { class: "problem" }, icon("fail"), h("p", {}, db.error)) : "", jobPlace,
      h("div", { class: "strip" }, fact("Cipher", cipherBadge(db.cipher)), fact("Disk key", [keyId(db.key_id), " ", h("span", { class: "dim" }, db.key_created ? when(db.key_created, at => `${span(Date.now() - new Date(at))} old`) : "")]),
        fact("Size", [bytes(db.size), db.limit ? h("span", { class: "dim" }, ` of ${bytes(db.limit)}`) : ""]), fact("Protected columns", number(db.protected_columns ?? 0)),
        fact("Last backup", when(db.last_backup))),
      h("div", { class: "two" },
        h("div", {}, url, columnSection(), rotationSection(), backupSection(), doctorSection()),
        h("div", {}, volumeSection(), keep, lines, dangerSection())));
  }
  const fact = (k, v) => h("div", {}, h("span", {}, k), h("b", {}, v));

  function gone() {
    node.replaceChildren(h("div", { class: "empty" }, h("h1", { tabindex: "-1" }, `${name} is gone`), h("p", {}, "It was destroyed. What happened stays in the audit log."),
      h("a", { class: "button", href: "#/databases" }, "All databases")));
  }

  function power() {
    const change = (verb, label, mark, blocked) => action({ label, icon: mark, role: "operator", blocked, run: async () => {
      const answer = await post(`/databases/${enc(name)}/${verb}`);
      if (answer?.name) put("databases", answer);
      toast(`${label} asked for`);
    } });
    const busy = ["starting", "stopping", "creating", "destroying"].includes(db.state) ? `It is ${db.state}` : null;
    return db.state === "running" || db.state === "starting" ? change("stop", "Stop", "stop", busy) : change("start", "Start", "play", busy);
  }

  function volumeSection() {
    const v = db.volume ?? {};
    return section("Volume", null, facts([
      ["Format", v.format ?? db.format], ["Cipher", cipherBadge(v.cipher ?? db.cipher)], ["Key", keyId(v.key_id ?? db.key_id)],
      "names_encrypted" in v && ["Names of files", v.names_encrypted ? "encrypted" : "plain"], v.files && ["Files", number(v.files)],
      ["Generation", v.generation ? String(v.generation) : null], v.keys?.length > 1 && ["Its keys", v.keys.map(k => h("div", {}, keyId(k.id), " ", state(k.state)))], ["Limit", [db.limit ? bytes(db.limit) : "none", " ", action({ label: "Change", kind: "quiet", small: true, role: "operator", run: resize })]],
      ["Port", db.port ? String(db.port) : "none: a file"]]),
    h("p", { class: "label" }, "Ciphertext on disk"), path(db.lower ?? v.lower ?? "–"), h("p", { class: "label" }, "Mounted at"), path(db.mount ?? v.mount ?? "–"));
  }

  function resize() {
    dialog({ title: `Limit of ${name}`, submit: "Set limit", body: [field("Size limit", input("limit", { value: db.limit ? bytes(db.limit) : "", placeholder: "none" }), "For example 20 GiB; empty for none.")],
      run: async form => {
        const text = form.get("limit").trim(), limit = text ? parseBytes(text) : null;
        if (text && !(limit > 0)) throw new Error(`"${text}" is no size: write for example 20 GiB`);
        const answer = await post(`/databases/${enc(name)}/resize`, { limit });
        if (answer?.name) put("databases", answer);
        toast("Limit set");
      } });
  }

  function columnSection() {
    const list = (db.columns ?? []).map(c => ({ ...c, column: c.column ?? c.name }));
    const grid = table({ caption: "Protected columns", dense: true, page: 20, key: c => c.column, empty: none("No column is protected by the application. The volume encrypts everything; columns protect against whoever reaches the database itself."),
      columns: [
        { title: "Column", sort: c => c.column, cell: c => h("span", { class: "mono" }, c.column) }, { title: "Type", cell: c => h("span", { class: "mono dim" }, c.type ?? "–") },
        { title: "Searchable by", class: "c-terms", cell: c => terms(c.terms) }, { title: "Leakage", class: "c-leak", sort: c => c.leakage?.grade, cell: c => grade(c.leakage) },
        { title: "Key", cell: c => keyId(c.key_id) }] });
    grid.update(list);
    return section("Protected columns", [action({ label: "Protect columns", small: true, role: "operator", blocked: db.engine === "redis" && "Redis has no columns", run: protect }),
      action({ label: "Rotate field key", icon: "key", small: true, role: "operator", blocked: !list.length ? "No column is protected" : db.job && `Job ${db.job} is at work on it`, run: () => rotateField(db) })], grid.node);
  }
  const terms = list => list?.length ? list.map(t => badge(t.kind ?? t)) : h("span", { class: "dim" }, "nothing");

  function protect() {
    dialog({ title: "Protect columns", submit: "Protect", lead: "Each value is sealed by itself, while the database is in use. Applications read and write through libcoffer afterwards.",
      body: [field("Columns", h("textarea", { name: "columns", rows: 4, class: "mono", spellcheck: "false", placeholder: "patients.ssn\npatients.phone" }), "One TABLE.COLUMN a line.")],
      ready: form => form.elements.columns.value.trim() !== "",
      run: form => begin(`/databases/${enc(name)}/protect`, { columns: form.get("columns").split(/[\s,]+/).filter(Boolean) }, "Protection begun") });
  }

  function rotationSection() {
    const list = db.rotations ?? [];
    const grid = table({ caption: "Rotations", dense: true, page: 10, key: r => r.id ?? r.started, sort: null, empty: none("No key of it was rotated yet."), columns: [
      { title: "Ended", cell: r => when(r.ended ?? r.updated ?? r.at, day) }, { title: "Method", cell: r => r.method ?? methodOf(r) ?? r.kind },
      { title: "Downtime", class: "num", cell: r => duration(r.downtime_ms ?? r.result?.downtime_ms) }, { title: "Moved", class: "num", cell: r => bytes(r.bytes ?? r.result?.bytes) },
      { title: "Keys", cell: r => h("span", { class: "change" }, keyId(r.old_key_id ?? r.result?.old_key_id), " → ", keyId(r.new_key_id ?? r.result?.new_key_id)) },
      { title: "Proof", cell: r => r.certificate ?? r.result?.certificate ? h("span", { class: "verdict-word good", title: String(r.certificate ?? r.result.certificate) }, icon("check"), "certificate") : r.state ? state(r.state, true) : "–" }] });
    grid.update(list);
    return section("Rotations", db.cipher === "aes-192" && action({ label: "Move to AES-256", icon: "lock", small: true, role: "operator", run: () => moveStack(db) }), grid.node);
  }

  function backupSection() {
    const grid = table({ caption: "Backups", dense: true, page: 8, key: b => b.id, empty: none("There is no backup of it yet."), columns: backupColumns().filter(c => !["Database", "Needs keys", "Kind"].includes(c.title)) });
    grid.update(db.backups?.filter ? db.backups.filter(b => b.state !== "expired") : []);
    return section("Backups", h("a", { class: "button small", href: `#/backups?database=${enc(name)}` }, "All, and points in time"), grid.node);
  }

  function doctorSection() {
    const checks = (Array.isArray(db.doctor) ? db.doctor : db.doctor?.checks) ?? [];
    const bad = checks.filter(c => c.state !== "ok").length;
    const run = action({ label: checks.length ? "Run again" : "Run doctor", small: true, role: "operator", blocked: db.state !== "running" && db.engine !== "sqlite" && "It is not running",
      run: () => begin(`/databases/${enc(name)}/doctor`, {}, "Doctor begun") });
    return section("Doctor", run, checks.length ? [
      h("p", { class: "dim" }, bad ? `${plural(checks.length - bad, "check")} passed, ${bad} to look at` : `${plural(checks.length, "check")} passed`, db.doctor?.at ? [", ", when(db.doctor.at)] : ""),
      h("ul", { class: "checks" }, [...checks].sort((a, b) => (a.state === "ok") - (b.state === "ok")).map(c => h("li", {}, h("span", { class: `tick ${c.state}` }, icon(c.state === "ok" ? "check" : c.state)),
        h("b", {}, c.name), h("span", {}, c.text), h("span", { class: "vh" }, c.state))))] : none("The doctor proves that the mount is safe for this engine: durability, locks, renames, direct reads, and that nothing on disk is plaintext."));
  }

  function dangerSection() {
    return section("Destroy", null, h("p", { class: "dim" }, "Ends the server, removes its files and, once no backup needs it, destroys the volume's key: what a disk still holds can never be read again."),
      h("div", { class: "actions" }, action({ label: "Destroy database", kind: "danger", role: "custodian", blocked: db.state === "destroying" && "It is being destroyed", run: () => destroy(db) })));
  }

  draw();
  return node;
}

/* The URL holds the password: it is fetched when asked for, and forgotten after a minute. */
function connection(name, db) {
  const place = h("output", { class: "url", "aria-live": "polite" }, "••••••••••••••••••••••••");
  const fetchUrl = async () => (await get(`/databases/${enc(name)}/url`)).url;
  let timer = 0;
  const hide = () => { place.textContent = "••••••••••••••••••••••••"; show.querySelector("span").textContent = "Reveal"; show.setAttribute("aria-pressed", "false"); clearTimeout(timer); };
  const show = action({ label: "Reveal", icon: "eye", small: true, role: "operator", run: async () => {
    if (show.getAttribute("aria-pressed") === "true") return hide();
    place.textContent = await fetchUrl();
    show.querySelector("span").textContent = "Hide";
    show.setAttribute("aria-pressed", "true");
    timer = setTimeout(hide, 60000);
  } });
  if (!may("operator")) return section("Connect", [show], h("p", { class: "dim" }, "Operators can see the address, which holds the password."));
  return section("Connect", null, h("div", { class: "url-line" }, place, show, copyButton(fetchUrl, "connection URL")),
    h("p", { class: "hint" }, db().engine === "sqlite" ? "The file lies in the mounted folder." : "A client needs nothing else: user, password and the check of the certificate are in it."));
}

function retention(name) {
  const place = h("div", {}, h("p", { class: "dim" }, "…"));
  const url = `/databases/${enc(name)}/retention`;
  async function read() {
    try {
      const r = await get(url);
      place.replaceChildren(facts([["Kept for", r.keep_days ? plural(r.keep_days, "day") : "–"], ["At least the last", r.keep_last ?? "–"], ["Taken", r.schedule || "by hand"]]),
        h("div", { class: "actions" }, action({ label: "Change", small: true, role: "operator", run: () => edit(r) })));
    } catch (error) { place.replaceChildren(problem(error, read)); }
  }
  function edit(r) {
    dialog({ title: "Keep backups", submit: "Save", body: [h("div", { class: "columns" },
      field("For so many days", input("keep_days", { type: "number", min: 1, value: r.keep_days ?? 30 })), field("At least the last", input("keep_last", { type: "number", min: 1, value: r.keep_last ?? 3 }))),
    field("Taken", input("schedule", { value: r.schedule ?? "", placeholder: "by hand" }), "For example daily or weekly; empty: by hand only.")],
    run: async form => {
      await send(url, { keep_days: Number(form.get("keep_days")), keep_last: Number(form.get("keep_last")), schedule: form.get("schedule").trim() });
      toast("Saved");
      await read();
    } });
  }
  read();
  return section("Retention", null, place);
}

function logs(name) {
  const place = h("div", {});
  const read = async () => {
    const { lines } = await get(`/databases/${enc(name)}/logs?lines=200`);
    const box = h("pre", { class: "log", tabindex: "0", role: "region", "aria-label": `Server log, read ${second(new Date().toISOString())} UTC` }, lines.length ? lines.join("\n") : "The log is empty.");
    place.replaceChildren(box);
    box.scrollTop = box.scrollHeight;
  };
  return section("Server log", action({ label: "Read the end", small: true, role: "operator", run: read }), place);
}

