/* SPDX-License-Identifier: Apache-2.0 */
/* Start, routes, and what surrounds every page.
 *
 *   #/databases   #/databases/NAME   #/keys   #/keys/ID   #/rotations   #/backups   #/audit   #/compliance     /signin#TOKEN
 *
 * A page module exports `title` (or title(params)) and page(context) → node.  The context: {params, query, setQuery, signal}; the signal
 * aborts when one leaves the page, and takes the page's listeners along.
 */
import { h, setText } from "./dom.js";
import { session, whoAmI, signOut } from "./api.js";
import { listen, silence, on, load, have } from "./store.js";
import { problem } from "./ui/actions.js";
import { icon } from "./ui/icons.js";
import { plural } from "./format.js";
import { toast } from "./ui/toast.js";

const PAGES = {
  databases: args => import(args.length ? "./pages/database.js" : "./pages/databases.js"),
  keys: args => import(args.length ? "./pages/key.js" : "./pages/keys.js"),
  rotations: () => import("./pages/rotations.js"),
  backups: () => import("./pages/backups.js"),
  audit: () => import("./pages/audit.js"),
  compliance: () => import("./pages/compliance.js"),
};
const THEMES = { auto: ["Colours as the system", "auto"], light: ["Light colours", "light"], dark: ["Dark colours", "dark"] };

const main = document.getElementById("main");
const scrolls = new Map(); // address → where one was
let leave = null; // AbortController of the page shown
let shown = null;

function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "", ...args] = path.split("/").map(decodeURIComponent);
  return { page: page || "databases", args, query: new URLSearchParams(query) };
}

const skeleton = () => h("div", { class: "skeleton", "aria-hidden": "true" }, h("i", { class: "sk-title" }), h("i", { class: "sk-line" }), h("i", { class: "sk-box" }));

async function show(moved) {
  const { page, args, query } = route();
  leave?.abort();
  leave = new AbortController();
  const mine = leave;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  for (const a of document.querySelectorAll("nav [data-page]")) {
    if (a.dataset.page === page) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  const context = { params: args, query, signal: mine.signal, setQuery: setQueryFor(mine, page, args) };
  /* A page that is quick replaces the former one at once, without a flash of grey. */
  const slow = setTimeout(() => { if (!mine.signal.aborted) main.replaceChildren(skeleton()); }, shown ? 120 : 0);
  let node, title;
  try {
    if (!PAGES[page]) throw new Error(`There is no page "${page}".`);
    const module = await PAGES[page](args);
    title = typeof module.title === "function" ? module.title(args) : module.title;
    node = await module.page(context);
  } catch (error) {
    if (mine.signal.aborted || error.name === "AbortError") return;
    node = h("div", { class: "page" }, h("h1", { tabindex: "-1" }, title ?? "Not shown"), problem(error, () => show(false)));
  } finally {
    clearTimeout(slow);
  }
  if (mine.signal.aborted) return;
  document.title = title ? `${title} · Coffer` : "Coffer";
  main.replaceChildren(node);
  if (moved) {
    main.querySelector("h1")?.focus({ preventScroll: true });
    scrollTo(0, moved === "back" ? scrolls.get(location.hash) ?? 0 : 0);
  }
  shown = location.hash;
}

/* Filters live in the address, so that going back finds them as they were. */
const setQueryFor = (mine, page, args) => values => {
  if (mine.signal.aborted) return;
  const text = new URLSearchParams(Object.entries(values).filter(([, v]) => v)).toString();
  const hash = `#/${[page, ...args.map(encodeURIComponent)].join("/")}${text ? `?${text}` : ""}`;
  if (hash !== location.hash) history.replaceState(history.state, "", hash);
  shown = hash;
};

function theme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  const order = Object.keys(THEMES);
  const button = h("button", { type: "button", class: "quiet only", "aria-label": `${THEMES[now][0]}: change`, "data-tip": THEMES[now][0], on: { click: () => {
    const to = order[(order.indexOf(now) + 1) % order.length];
    if (to === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = to;
    try { localStorage.setItem("coffer-theme", to); } catch { /* storage is off: until the page is left */ }
    const fresh = theme();
    button.replaceWith(fresh);
    fresh.focus();
  } } }, icon(THEMES[now][1]));
  return button;
}

function account() {
  document.getElementById("account").replaceChildren(
    h("p", {}, h("b", {}, session.who), h("span", {}, session.role === "custodian" ? "key custodian" : session.role)), theme(),
    h("button", { type: "button", class: "quiet only", "aria-label": "Sign out", "data-tip": "Sign out", on: { click: async () => {
      try { await signOut(); } catch (error) { return toast(error.message, "fail"); }
      await askToSignIn({ out: true });
    } } }, icon("leave")));
}

/* "2 jobs running", on every page. */
function activity() {
  const running = [...have("jobs")?.values() ?? []].filter(j => j.state === "running");
  const place = document.getElementById("activity");
  place.replaceChildren(...running.length ? [h("a", { href: "#/rotations" }, h("i", { class: "pulse" }), plural(running.length, "job"), " running")] : []);
}

function notice(text) {
  setText(document.getElementById("notice"), text);
}

async function askToSignIn(why) {
  leave?.abort();
  silence();
  notice("");
  document.documentElement.dataset.view = "signin";
  const { page } = await import("./pages/signin.js");
  document.title = "Sign in · Coffer";
  main.replaceChildren(page(why, start));
}

async function start() {
  document.documentElement.dataset.view = "app";
  if (location.pathname !== "/") history.replaceState(null, "", "/#/databases");
  account();
  listen();
  load("jobs").then(activity, () => {});
  await show(false);
}

document.querySelector(".skip").addEventListener("click", e => {
  e.preventDefault();
  (main.querySelector("h1") ?? main).focus();
});
document.addEventListener("keydown", e => {
  if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select, dialog")) return;
  const search = main.querySelector("input[type=search]");
  if (search) { e.preventDefault(); search.focus(); search.select(); }
});

history.scrollRestoration = "manual";
addEventListener("scroll", () => { if (shown === location.hash) scrolls.set(shown, scrollY); }, { passive: true });
let back = false;
addEventListener("popstate", () => { back = true; });
addEventListener("hashchange", () => { show(back && !clicked ? "back" : "on"); back = clicked = false; });
let clicked = false;
addEventListener("click", e => { if (e.target.closest("a[href^='#']")) clicked = true; }, true);

session.onEnd = error => {
  if (document.documentElement.dataset.view !== "signin") askToSignIn({ ended: error.message });
};
on("job", activity);
on("reset", activity);
on("link", up => notice(up ? "" : "cofferd does not answer. What is shown may be old; trying again."));

if (location.pathname === "/signin") askToSignIn({ token: location.hash.slice(1) });
else whoAmI().then(start, error => error.code === 401 ? askToSignIn({}) : askToSignIn({ failed: error }));
