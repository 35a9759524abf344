/* SPDX-License-Identifier: Apache-2.0 */
/* A table with sorting, pages and arrow keys, for some thousands of rows.
 *
 * Tab reaches one row; up, down, Home and End go to others, left and right to the links and buttons of a row.  At phone width the
 * style sheet makes a card of each row, so the roles stand in the markup.
 */
import { h, hidden } from "../dom.js";
import { number } from "../format.js";
import { icon } from "./icons.js";

const collator = new Intl.Collator("en", { numeric: true });

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  return typeof a === "string" ? collator.compare(a, b) : a < b ? -1 : 1;
}

/* {caption, columns: [{title, cell: row → node, sort: row → value, class, head: hide the title}], key: row → id, page: rows a page,
 *  sort: [column index, 1 or -1], empty: node or function, changed: (sort, page) → …}
 * Returns {node, update(rows)}. */
export function table({ caption, columns, key, page: size = 50, sort = null, start = 0, empty, changed = () => {}, dense, name }) {
  let all = [], page = start, current = null;
  const made = new Map(); // key → {text, tr}: a row that did not change keeps its elements, and focus

  const heads = columns.map((c, i) => h("th", { role: "columnheader", scope: "col", class: c.class },
    c.sort ? h("button", { type: "button", class: "sort", on: { click: () => order(i) } }, c.title, h("i", { "aria-hidden": "true" })) :
      c.head ? hidden(c.title) : c.title));
  const body = h("tbody", { role: "rowgroup" });
  const grid = h("table", { role: "table", class: [dense && "dense", name && `t-${name}`].filter(Boolean).join(" ") || null }, h("caption", { class: "vh" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)), body);
  const nothing = h("div", {});
  const range = h("p", { role: "status" });
  const turn = (label, name, by) => h("button", { type: "button", class: "only small", "aria-label": label, on: { click: () => { page += by; draw(); note(); } } }, icon(name));
  const previous = turn("Previous page", "back", -1), next = turn("Next page", "next", 1);
  const pager = h("div", { class: "pager" }, range, previous, next);
  const node = h("div", { class: "table" }, h("div", { class: "scroll" }, grid), nothing, pager);

  const note = () => changed(sort, page);

  function order(i) {
    sort = sort && sort[0] === i ? [i, -sort[1]] : [i, columns[i].first ?? 1];
    page = 0;
    draw();
    note();
  }

  function row(r) {
    const id = key(r), text = JSON.stringify(r), old = made.get(id);
    if (old?.text === text) return old.tr;
    const tr = h("tr", { role: "row", "data-key": id }, columns.map((c, i) =>
      h(i ? "td" : "th", { role: i ? "cell" : "rowheader", scope: i ? null : "row", class: c.class, "data-title": c.title }, c.cell(r))));
    made.set(id, { text, tr });
    return tr;
  }

  const stops = tr => [...tr.querySelectorAll("a[href], button, select, input")];

  function rove() {
    const rows = [...body.rows];
    const chosen = rows.find(tr => tr.dataset.key === current) ?? rows[0];
    for (const tr of rows) for (const el of stops(tr)) el.tabIndex = tr === chosen ? 0 : -1;
  }

  function draw() {
    const sorted = sort ? [...all].sort((a, b) => sort[1] * compare(columns[sort[0]].sort(a), columns[sort[0]].sort(b))) : all;
    const pages = Math.max(1, Math.ceil(sorted.length / size));
    page = Math.min(Math.max(0, page), pages - 1);
    const shown = sorted.slice(page * size, (page + 1) * size);
    const focus = document.activeElement?.closest("tr")?.dataset.key;
    const at = focus && body.contains(document.activeElement) ? stops(document.activeElement.closest("tr")).indexOf(document.activeElement) : -1;
    body.replaceChildren(...shown.map(row));
    for (const [i, head] of heads.entries()) {
      if (sort && sort[0] === i) head.setAttribute("aria-sort", sort[1] > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    grid.hidden = shown.length === 0;
    nothing.replaceChildren(...shown.length ? [] : [typeof empty === "function" ? empty() : empty ?? ""].flat());
    pager.hidden = pages === 1;
    range.textContent = `${number(page * size + 1)}–${number(page * size + shown.length)} of ${number(sorted.length)}`;
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
    rove();
    if (at >= 0) stops(body.querySelector(`tr[data-key="${CSS.escape(focus)}"]`) ?? body)[at]?.focus();
  }

  body.addEventListener("focusin", e => { current = e.target.closest("tr")?.dataset.key ?? null; rove(); });
  body.addEventListener("keydown", e => {
    const tr = e.target.closest("tr");
    if (!tr || e.target.matches("input, select, textarea") || e.altKey || e.ctrlKey || e.metaKey) return;
    const mine = stops(tr), at = mine.indexOf(e.target);
    const to = { ArrowDown: tr.nextElementSibling, ArrowUp: tr.previousElementSibling, Home: body.firstElementChild, End: body.lastElementChild }[e.key];
    if (to) { e.preventDefault(); (stops(to)[Math.max(0, Math.min(at, stops(to).length - 1))])?.focus(); }
    else if (e.key === "ArrowRight" && mine[at + 1]) mine[at + 1].focus();
    else if (e.key === "ArrowLeft" && mine[at - 1]) mine[at - 1].focus();
  });
  /* The whole row opens what its first link opens; text can still be selected. */
  body.addEventListener("click", e => {
    if (e.target.closest("a, button, input, select, label") || String(getSelection())) return;
    e.target.closest("tr")?.querySelector("th a[href]")?.click();
  });

  return {
    node,
    update(rows) { all = rows; for (const k of made.keys()) if (made.size > 4 * size) made.delete(k); draw(); },
    first() { page = 0; },
  };
}
