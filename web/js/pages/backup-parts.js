/* SPDX-License-Identifier: Apache-2.0 */
/* What both the page of backups and that of a database show of a backup, and the dialogs that restore one. */
import { h } from "../dom.js";
import { bytes, minute, when } from "../format.js";
import { post } from "../api.js";
import { put } from "../store.js";
import { action, begin } from "../ui/actions.js";
import { badge, keyId, state } from "../ui/badges.js";
import { dialog, field, input } from "../ui/dialog.js";
import { picker } from "../ui/picker.js";
import { toast } from "../ui/toast.js";

export const reaches = b => Boolean(b.from && b.until && b.state === "complete");

export function restoreDialog(backup, until) {
  const pick = reaches(backup) ? picker(backup.from, backup.until, until ?? backup.until) : null;
  dialog({ title: `Restore ${backup.database}`, submit: "Restore", wide: Boolean(pick), lead: "Into a new database, with a volume key of its own. The one that runs is not touched.",
    body: [field("Name of the new database", input("as", { value: `${backup.database}-restored`, required: true })), pick && h("fieldset", { class: "plain-set" }, h("legend", {}, "To this moment"), pick.node),
      h("p", { class: "hint" }, "Needs the keys ", backup.needs.map((k, i) => [i ? ", " : "", h("span", { class: "mono" }, k)]), ".")],
    ready: form => form.elements.as.value.trim() !== "",
    run: form => begin(`/backups/${backup.id}/restore`, { as: form.get("as").trim(), ...(pick && pick.value() !== backup.until ? { until: pick.value() } : {}) }, "Restore begun") });
}

function expireDialog(backup) {
  dialog({ title: "Expire this backup?", danger: true, submit: "Expire", lead: `The backup of ${backup.database} of ${minute(backup.started)} UTC is removed. Keys that only it needed can be destroyed afterwards.`, body: [],
    run: async () => { const answer = await post(`/backups/${backup.id}/expire`); if (answer?.id) put("backups", answer); toast("Expired"); } });
}

export function backupActions(b) {
  const blocked = b.state === "complete" ? null : `It is ${b.state}`;
  const what = `backup of ${b.database} of ${minute(b.started)}`;
  return h("div", { class: "row-actions" },
    action({ label: "Restore", small: true, role: "operator", blocked, name: `Restore ${what}`, run: () => restoreDialog(b) }),
    action({ label: "Verify", small: true, kind: "quiet", role: "operator", blocked, name: `Verify ${what}`, run: () => begin(`/backups/${b.id}/verify`, {}, "Verification begun: it is restored and compared") }),
    action({ label: "Expire", icon: "close", only: true, small: true, kind: "quiet", role: "operator", blocked: b.state === "expired" ? "It is expired" : null, name: `Expire ${what}`, run: () => expireDialog(b) }));
}

export const backupColumns = () => [
  { title: "Taken", sort: b => b.started, first: -1, cell: b => [when(b.started, minute), h("span", { class: "dim sub" }, `${b.kind} · ${b.id}`)] },
  { title: "Database", sort: b => b.database, cell: b => h("a", { href: `#/databases/${encodeURIComponent(b.database)}` }, b.database) },
  { title: "State", sort: b => b.state, cell: b => [state(b.state, true), b.verified ? badge("verified", "good") : ""] },
  { title: "Size", class: "num", sort: b => b.bytes, first: -1, cell: b => bytes(b.bytes) },
  { title: "Needs keys", class: "c-needs", cell: b => h("span", { class: "needs" }, (b.needs ?? []).map(k => keyId(k))) },
  { title: "Expires", sort: b => b.expires, cell: b => b.state === "expired" ? "–" : when(b.expires) },
  { title: "Actions", head: true, class: "c-actions", cell: backupActions },
];
