/* SPDX-License-Identifier: Apache-2.0 */
/* Modal dialogs with a form.  A failure is shown inside, what was typed stays, and focus returns to what opened it. */
import { h, uid } from "../dom.js";
import { icon } from "./icons.js";
import { problem } from "./actions.js";

/* {title, lead, body: [nodes], submit: "Create", danger, wide, run: async (form: FormData) → closes when it resolves, ready: (form element) → bool} */
export function dialog({ title, lead, body, submit, danger, wide, run, ready }) {
  const id = uid("dialog");
  const errors = h("div", {});
  const go = h("button", { class: danger ? "danger solid" : "primary" }, h("span", {}, submit));
  const form = h("form", { method: "dialog", novalidate: true },
    h("header", {}, h("h2", { id }, title), h("button", { type: "button", class: "quiet only small", "aria-label": "Close", on: { click: () => box.close() } }, icon("close"))),
    h("div", { class: "dialog-body" }, lead && h("p", { class: "lead" }, lead), body, errors),
    h("footer", {}, h("button", { type: "button", on: { click: () => box.close() } }, "Cancel"), go));
  const box = h("dialog", { class: wide ? "wide" : null, "aria-labelledby": id }, form);
  const opener = document.activeElement;

  const check = () => { if (ready) go.toggleAttribute("disabled", !ready(form)); };
  form.addEventListener("input", check);
  form.addEventListener("submit", async e => {
    e.preventDefault();
    if (go.getAttribute("aria-busy")) return;
    go.setAttribute("aria-busy", "true");
    errors.replaceChildren();
    try {
      await run(new FormData(form));
      box.close();
    } catch (error) {
      errors.replaceChildren(problem(error));
      errors.scrollIntoView({ block: "nearest" });
    } finally {
      go.removeAttribute("aria-busy");
    }
  });
  box.addEventListener("close", () => { box.remove(); if (opener?.isConnected) opener.focus(); });
  document.body.append(box);
  check();
  box.showModal();
  (form.querySelector(".dialog-body :is(input, select, textarea)") ?? go).focus();
  return box;
}

/* A labelled field: control is an element; hint below it. */
export function field(label, control, hint) {
  const id = control.id || uid("field");
  const described = hint ? `${id}-hint` : null;
  control.id = id;
  if (described) control.setAttribute("aria-describedby", described);
  return h("div", { class: "field" }, h("label", { for: id }, label), control, hint && h("p", { class: "hint", id: described }, hint));
}

export const input = (name, attributes) => h("input", { name, type: "text", autocomplete: "off", spellcheck: "false", ...attributes });

/* options: [[value, text], …] */
export const select = (name, options, value, attributes) =>
  h("select", { name, ...attributes }, options.map(([v, text]) => h("option", { value: v, selected: v === value }, text)));

/* Choices with an explanation each: [{value, title, tag, text, blocked}]. */
export function choices(legend, name, list, chosen) {
  return h("fieldset", { class: "choices" }, h("legend", {}, legend), list.map(c => h("label", { class: c.blocked ? "blocked" : null },
    h("input", { type: "radio", name, value: c.value, checked: c.value === chosen, disabled: Boolean(c.blocked) }),
    h("span", {}, h("b", {}, c.title), c.tag && !c.blocked && h("em", {}, c.tag), h("small", {}, c.blocked ?? c.text)))));
}
