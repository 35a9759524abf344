/* SPDX-License-Identifier: Apache-2.0 */
/* A report to print: what is encrypted how, what was checked and when, and which rule that answers. */
import { h } from "../dom.js";
import { number, plural, second, when, minute } from "../format.js";
import { get } from "../api.js";
import { action } from "../ui/actions.js";
import { cipherBadge, engineTitle, keyId } from "../ui/badges.js";
import { icon } from "../ui/icons.js";
import { table } from "../ui/table.js";

export const title = "Compliance";
const RULE = "45 CFR § ";
const RESULT = { ok: "ok", warn: "remark", fail: "failed" };
const WORDS = { ok: "met", warn: "met, with remarks", fail: "not met" };

const verdict = (r, words = r) => h("span", { class: `verdict-word ${r === "ok" || r === true ? "good" : r === "warn" ? "warn" : r === "none" || !r ? "idle" : "bad"}` },
  icon(r === "ok" || r === true ? "check" : r === "warn" ? "warn" : r === "none" || !r ? "stop" : "fail"), words === true ? "ok" : words || "not checked");

const backups = b => b === null || b === undefined ? "–" : typeof b === "object" ? b.encrypted === undefined ? plural(b.count ?? 0, "backup") : `${number(b.encrypted)} of ${number(b.count ?? 0)} encrypted` : String(b);

const columns = [
  { title: "Database", sort: d => d.name, cell: d => h("a", { href: `#/databases/${encodeURIComponent(d.name)}` }, d.name) },
  { title: "Engine", sort: d => d.engine, cell: d => engineTitle(d.engine) },
  { title: "At rest", sort: d => d.at_rest?.cipher, cell: d => d.at_rest?.cipher ? cipherBadge(d.at_rest.cipher) : "–" },
  { title: "Key", cell: d => keyId(d.at_rest?.key_id) },
  { title: "Checked", cell: d => [verdict(d.at_rest?.result, RESULT[d.at_rest?.result]), " ", h("span", { class: "dim" }, when(d.at_rest?.checked, minute))] },
  { title: "In transit", cell: d => verdict(d.in_transit?.result, d.in_transit?.result === "none" ? "no network" : typeof d.in_transit?.tls === "string" ? d.in_transit.tls : d.in_transit?.result === "ok" ? d.in_transit.tls ? "TLS" : "this machine" : RESULT[d.in_transit?.result]) },
  { title: "Columns", class: "num", sort: d => d.columns?.length, first: -1, cell: d => number(d.columns?.length ?? 0) },
  { title: "Backups", cell: d => backups(d.backups) },
];

function text(evidence) {
  if (typeof evidence === "string") return evidence;
  return evidence.text ?? Object.entries(evidence).map(([k, v]) => `${k}: ${v}`).join(", ");
}

export async function page({ signal }) {
  const node = h("div", { class: "page report" });
  async function read() {
    const r = await get("/compliance", { signal });
    const grid = table({ caption: "Databases", columns, key: d => d.name, sort: [0, 1], page: 5000, dense: true, empty: h("p", { class: "empty" }, "There are no databases.") });
    grid.update(r.databases ?? []);
    const remarks = (r.databases ?? []).flatMap(d => [...(Array.isArray(d.checks) ? d.checks : d.checks?.checks ?? []).filter(c => c.state !== "ok").map(c => [d.name, `${c.name}: ${c.text}`]),
      ...["at_rest", "in_transit"].filter(w => d[w]?.result === "fail" && d[w].text).map(w => [d.name, d[w].text]),
      ...d.columns_open ? [[d.name, `${plural(d.columns_open, "column")} not sealed yet`]] : [],
      ...d.at_rest?.cipher === "aes-192" ? [[d.name, "AES-192, on a legacy stack: move it to a v2 stack for AES-256"]] : []]);
    node.replaceChildren(
      h("div", { class: "head" }, h("div", {}, h("h1", { tabindex: "-1" }, "Encryption of health information"), h("p", { class: "summary" }, "Checked ", h("time", { datetime: r.at }, `${second(r.at)} UTC`), ` for ${r.by} · HIPAA Security Rule, 45 CFR Part 164`)),
        h("div", { class: "actions" }, action({ label: "Check again", icon: "rotate", run: read }), action({ label: "Print", icon: "print", kind: "primary", run: () => print() }))),
      h("div", { class: "rules" }, (r.mapping ?? []).map(m => h("section", { class: "card rule", "aria-label": m.rule }, h("header", {}, h("span", { class: "mono" }, RULE, m.rule), verdict(m.result, WORDS[m.result] ?? m.result)), h("h2", {}, m.title),
        h("ul", { class: "evidence" }, (m.evidence ?? []).map(e => h("li", {}, text(e))))))),
      h("div", { class: "strip" }, Object.entries(r.keys ?? {}).filter(([, n]) => typeof n === "number").map(([word, n]) => h("div", {}, h("span", {}, `Keys ${word}`), h("b", {}, number(n)))),
        h("div", {}, h("span", {}, "Audit log"), h("b", {}, verdict(r.audit?.verified === true ? "ok" : "fail", r.audit?.verified === true ? `${plural(r.audit.count, "entry", "entries")}, chain whole` : "chain broken")))),
      h("section", { "aria-label": "Databases" }, h("h2", {}, "What is encrypted, how"), grid.node),
      remarks.length ? h("section", { class: "card", "aria-label": "Remarks" }, h("h2", {}, "Remarks"), h("ul", { class: "remarks" }, remarks.map(([n, t]) => h("li", {}, h("b", {}, n), " ", t)))) : "",
      h("p", { class: "hint limits" }, "This says what Coffer saw on this machine at the time above. It says nothing of applications that copy data elsewhere, of people, or of machines that it does not look after."));
  }
  await read();
  return node;
}
