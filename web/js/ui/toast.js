/* SPDX-License-Identifier: Apache-2.0 */
/* Short messages in the corner, read out by screen readers.  Failures stay until they are dismissed. */
import { h } from "../dom.js";
import { icon } from "./icons.js";

const MS = 5000;

export function toast(text, kind = "ok") {
  const close = h("button", { class: "quiet small", "aria-label": "Dismiss", on: { click: () => node.remove() } }, icon("close"));
  const node = h("div", { class: `toast ${kind}`, role: kind === "fail" ? "alert" : null },
    icon(kind === "fail" ? "fail" : kind === "info" ? "warn" : "check"), h("p", {}, text), close);
  document.getElementById("toasts").append(node);
  if (kind !== "fail") setTimeout(() => node.remove(), MS);
}
