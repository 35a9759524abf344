/* SPDX-License-Identifier: Apache-2.0 */
/* Buttons that do something on the server.
 *
 * One that the role does not allow, or the state, stays visible and focusable (aria-disabled) and says why: in a tooltip, to screen readers, and
 * when pressed.
 */
import { h, hidden } from "../dom.js";
import { may, post } from "../api.js";
import { icon } from "./icons.js";
import { toast } from "./toast.js";

const REFUSAL = { operator: "Needs the role operator", custodian: "Needs the role key custodian" };

/* {label, icon, role, blocked: reason or null, kind: "primary"|"danger"|"quiet", run: async fn, small, only: no label shown} */
export function action({ label, icon: name, role, blocked, kind = "", run, small, only, name: spoken }) {
  const reason = role && !may(role) ? REFUSAL[role] : blocked;
  const button = h("button", {
    type: "button", class: [kind, small && "small", only && "only"].filter(Boolean).join(" ") || null, "aria-label": spoken ?? (only ? label : null),
    "aria-disabled": reason ? "true" : null, "data-tip": reason ?? (only ? label : null), "data-label": label,
    on: { click: () => reason ? toast(`${label}: ${reason.charAt(0).toLowerCase()}${reason.slice(1)}.`, "info") : press(button, run) },
  }, name && icon(name), only ? null : h("span", {}, label), reason && hidden(` (${reason})`));
  return button;
}

async function press(button, run) {
  if (button.getAttribute("aria-busy")) return;
  button.setAttribute("aria-busy", "true");
  try {
    await run(button);
  } catch (e) {
    failed(button, e);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/* Say what went wrong beside what was pressed; the next press, or leaving the page, takes it away. */
function failed(button, error) {
  const place = button.closest(".section-head")?.parentElement ?? button.closest(".actions, .row-actions, td, section, .card") ?? button.parentElement;
  const host = place.matches("td, .row-actions") ? null : place;
  if (!host) return toast(error.message, "fail");
  host.querySelector(":scope > .problem")?.remove();
  host.append(problem(error));
}

export function problem(error, retry) {
  return h("div", { class: "problem", role: "alert" }, icon("fail"), h("p", {}, error.message),
    retry && h("button", { type: "button", class: "small", on: { click: retry } }, "Try again"));
}

/* Start work that takes time, and say so. */
export async function begin(path, body, words) {
  const answer = await post(path, body);
  toast(answer?.job ? `${words} (job ${answer.job})` : words);
  return answer;
}

export function copyButton(text, what) {
  return action({ label: `Copy ${what}`, icon: "copy", only: true, small: true, kind: "quiet", run: async () => {
    await navigator.clipboard.writeText(typeof text === "function" ? await text() : text);
    toast(`Copied ${what}`);
  } });
}
