/* SPDX-License-Identifier: Apache-2.0 */
/* What asks before it changes a database for good: keys, stacks, its end. */
import { h } from "../dom.js";
import { bytes, duration } from "../format.js";
import { del, enc } from "../api.js";
import { stacks } from "../store.js";
import { begin } from "../ui/actions.js";
import { choices, dialog, field, input, select } from "../ui/dialog.js";
import { parseBytes } from "../format.js";
import { toast } from "../ui/toast.js";

const ASSUMED_RATE = 60 * 1048576; // bytes a second, dumped and loaded again, where nothing was measured yet

/* What is to be expected: measured on this database before, or estimated from its size; which of the two is said. */
function expected(db, method) {
  const last = (db.rotations ?? []).map(r => r.result ?? r).find(r => r.method === method && typeof r.downtime_ms === "number");
  if (method === "online") return "no downtime";
  if (last) return `${duration(last.downtime_ms)} when last done`;
  return method === "replicate" ? "some seconds" : `about ${duration(Math.max(2000, (db.size ?? 0) / ASSUMED_RATE * 1000))}, estimated`;
}

function rateBody(form, body) {
  const text = form.get("rate").trim();
  if (!text) return body;
  const rate = parseBytes(text.replace(/\/s$/, ""));
  if (!(rate > 0)) throw new Error(`"${text}" is no rate: write for example 50 MiB`);
  return { ...body, rate };
}

const rateField = () => field("Highest rate", input("rate", { placeholder: "none" }), "Bytes a second, for example 50 MiB. It can be changed while it runs.");

export function rotateDisk(db) {
  const kinds = choices("How far", "kind", [
    { value: "reencrypt", title: "Encrypt again", text: "Every file is written anew under a new key. For keys that may have leaked, and for a schedule that counts." },
    { value: "rewrap", title: "Wrap again", text: "Only the headers of files change, in seconds. Whoever had read a file's own key can still read that file." }], "reencrypt");
  const box = dialog({
    title: `Rotate the disk key of ${db.name}`, wide: true, submit: "Rotate",
    lead: `${bytes(db.size)} under key ${db.key_id}. Whatever ends in between, power included: one complete database exists, and is the one that answers.`,
    body: [choices("Method", "method", [
      { value: "online", title: "Online", tag: expected(db, "online"), text: "The volume is encrypted again in place while the database is in use." },
      { value: "replicate", title: "Replicate", tag: expected(db, "replicate"), text: "A new database with a new key follows this one by logical replication, then they are switched. Needs space for both.",
        blocked: db.engine !== "postgresql" && "Only PostgreSQL can do this." },
      { value: "dump-restore", title: "Dump and restore", tag: expected(db, "dump-restore"), text: "No writes while it is dumped into a new database with a new key. The plainest way, and it tidies the files. Needs space for both." }], "online"),
    kinds, rateField()],
    run: form => begin(`/databases/${enc(db.name)}/rotate`, rateBody(form, form.get("method") === "online" ? { method: "online", kind: form.get("kind") } : { method: form.get("method") }), "Rotation begun"),
  });
  box.addEventListener("change", () => { kinds.hidden = box.querySelector("[name=method]:checked").value !== "online"; });
}

export function rotateField(db) {
  dialog({ title: `Rotate the field key of ${db.name}`, submit: "Rotate",
    lead: "Each cell of the protected columns is sealed again under a new key while applications go on. A certificate says when none is left under the old one.",
    body: [h("ul", { class: "plain" }, db.columns.map(c => h("li", { class: "mono" }, c.column ?? c.name)))],
    run: () => begin(`/databases/${enc(db.name)}/rotate-field`, {}, "Rotation begun") });
}

export async function moveStack(db) {
  const to = (await stacks()).filter(s => s.version === "v2");
  dialog({ title: `Move ${db.name} to AES-256`, submit: "Move", lead: "The volume is encrypted again under a key of the new stack's cipher. The database stays in use.",
    body: [field("Stack", select("stack", to.map(s => [s.name, `${s.name} (${s.cipher.toUpperCase()})`]), "main"))],
    run: form => begin(`/databases/${enc(db.name)}/move`, { stack: form.get("stack") }, "Move begun") });
}

export function destroy(db) {
  dialog({ title: `Destroy ${db.name}?`, danger: true, submit: "Destroy", lead: `${bytes(db.size)} will be gone. Backups stay until they expire, and with them the keys that they need.`,
    body: [field(`Type ${db.name} to confirm`, input("confirm", {}))], ready: form => form.elements.confirm.value === db.name,
    run: async form => { await del(`/databases/${enc(db.name)}`, { confirm: form.get("confirm") }); toast(`Destroying ${db.name}`); } });
}
