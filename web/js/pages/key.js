/* SPDX-License-Identifier: Apache-2.0 */
/* One key: its life, what holds it, and its end by two custodians. */
import { h } from "../dom.js";
import { minute, plural, when } from "../format.js";
import { get, post, session } from "../api.js";
import { on, put } from "../store.js";
import { action } from "../ui/actions.js";
import { badge, state } from "../ui/badges.js";
import { dialog, field, input } from "../ui/dialog.js";
import { icon } from "../ui/icons.js";
import { lifecycle, MEANING } from "../ui/lifecycle.js";
import { toast } from "../ui/toast.js";

const NEEDED = 2;
export const title = ([id]) => `Key ${id}`;

export async function page({ params: [id], signal }) {
  let key = await get(`/keys/${id}`, { signal });
  const node = h("div", { class: "page" });
  const narrow = matchMedia("(max-width: 760px)");

  async function approve() {
    key = await post(`/keys/${id}/approve`);
    put("keys", key);
    draw();
    toast("Approved");
  }
  function destroyDialog() {
    dialog({ title: `Destroy key ${id}?`, danger: true, submit: "Destroy", lead: "Whatever is still sealed under it, anywhere, can never be opened again. Its id and its history stay.",
      body: [field(`Type ${id} to confirm`, input("confirm", { class: "mono" }))], ready: form => form.elements.confirm.value === id,
      run: async () => { key = await post(`/keys/${id}/destroy`); put("keys", key); draw(); toast(`Key ${id} is destroyed`); } });
  }

  function ending() {
    const given = key.approvals ?? [], held = key.held_by ?? [];
    if (key.state === "destroyed") return h("p", { class: "dim" }, "Destroyed ", when(key.states?.destroyed, minute), " UTC.");
    const heldReason = held.length ? `It is held by ${held[0].kind} ${held[0].name}` : null;
    const mine = given.some(a => a.who === session.who);
    return [h("p", { class: "dim" }, held.length ? "While something holds it, it cannot be destroyed." : "Nothing holds it. Two different custodians must approve, then one of them destroys it."),
      h("ol", { class: "approvals" }, Array.from({ length: NEEDED }, (_, i) => given[i] ? h("li", { class: "given" }, icon("check"), h("b", {}, given[i].who), h("span", { class: "dim" }, " approved ", when(given[i].at))) :
        h("li", {}, h("i", {}), h("span", { class: "dim" }, i === given.length ? "waits for a custodian" : "and for another one")))),
      h("div", { class: "actions" },
        action({ label: "Approve", icon: "check", role: "custodian", blocked: heldReason ?? (mine ? "You have approved; another custodian must" : given.length >= NEEDED ? "Two have approved" : null), run: approve }),
        action({ label: "Destroy key", kind: "danger", role: "custodian", blocked: heldReason ?? (given.length < NEEDED ? `${plural(NEEDED - given.length, "approval")} missing` : null), run: destroyDialog }))];
  }

  function draw() {
    node.replaceChildren(
      h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: "#/keys" }, "Keys"), icon("next"), h("span", { "aria-current": "page" }, id)),
      h("div", { class: "head" }, h("div", {}, h("h1", { tabindex: "-1" }, "Key ", h("span", { class: "mono" }, id)),
        h("p", { class: "summary" }, state(key.state), "· ", key.compromised ? badge("compromised", "bad") : "", `${key.purpose} · line ${key.line || "–"}${key.version ? ` · version ${key.version}` : ""} · ${MEANING[key.state] ?? ""}`))),
      h("section", { class: "card", "aria-label": "Life" }, h("h2", {}, "Life"), lifecycle(key, narrow.matches)),
      h("div", { class: "two" },
        h("section", { class: "card", "aria-label": "What holds it" }, h("h2", {}, "What holds it"), key.held_by?.length ? h("ul", { class: "holds" }, key.held_by.map(x => h("li", {}, badge(x.kind), h("div", {}, h("b", {}, x.name), h("p", {}, x.text)), h("span", { class: "dim" }, x.until ? ["until ", when(x.until, minute)] : "while it is so")))) : h("p", { class: "none" }, "Nothing needs it any more."),
          key.databases?.length ? [h("p", { class: "label" }, "Databases"), h("p", { class: "names" }, key.databases.map(n => h("a", { href: `#/databases/${encodeURIComponent(n)}` }, n)))] : ""),
        h("section", { class: "card", "aria-label": "End" }, h("h2", {}, "End"), ending())));
  }
  narrow.addEventListener("change", draw, { signal });
  on("key", k => { if (k.id === id) { key = { ...key, ...k }; draw(); } }, signal);
  on("reset", async () => { key = await get(`/keys/${id}`, { signal }); draw(); }, signal);
  draw();
  return node;
}
