// SPDX-License-Identifier: Apache-2.0
// A browser, a mock server, and what is checked on every page: names, contrast, headings, overflow, the content security policy.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const HERE = path.dirname(fileURLToPath(import.meta.url));
export const SHOTS = process.env.COFFER_SCREENSHOTS ?? path.join(HERE, "../../build-check/screenshots");
const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
mkdirSync(SHOTS, { recursive: true });

export const LOOKS = {
  light: { colorScheme: "light", viewport: { width: 1360, height: 900 } },
  dark: { colorScheme: "dark", viewport: { width: 1360, height: 900 } },
  phone: { colorScheme: "light", viewport: { width: 390, height: 844 }, hasTouch: true },
  tablet: { colorScheme: "light", viewport: { width: 820, height: 1100 } },
};

export const launch = () => chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });

/* A process that prints its address first.  {url, stop()}. */
const children = new Set();
export function serve(program, args) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout.on("data", data => {
      text += data;
      const url = /https?:\/\/[^\s#]+/.exec(text);
      if (url) resolve({ url: url[0].replace(/\/$/, ""), stop: () => child.kill("SIGTERM") });
    });
    child.on("exit", code => reject(new Error(`${program} ended with ${code} before it printed an address`)));
  });
}

/* A test that failed has not stopped its own. */
export const stopAll = () => { for (const child of children) child.kill("SIGTERM"); };

export const mock = (databases = 16) => serve("python3", [path.join(HERE, "mock.py"), "--databases", String(databases)]);

/* A page that notes what must not happen: errors of scripts, of the policy, requests to anywhere else. */
export async function open(browser, base, look = LOOKS.light) {
  const context = await browser.newContext({ ...look, permissions: ["clipboard-read", "clipboard-write"] });
  context.setDefaultTimeout(8000);
  const page = await context.newPage();
  const bad = [];
  page.on("pageerror", e => bad.push(`script: ${e.message}`));
  page.on("console", m => {
    if (m.type() === "error" && !/Failed to load resource/.test(m.text())) bad.push(`console: ${m.text()}`);
  });
  page.on("request", r => { if (!r.url().startsWith(base) && r.url() !== "about:blank") bad.push(`request to ${r.url()}`); });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", e => console.error(`Content Security Policy: ${e.violatedDirective} ${e.blockedURI} ${e.sample}`));
  });
  return { page, context, base, bad, async close() {
    await context.close();
    assert.deepEqual(bad, []);
  } };
}

export async function signIn(t, token = "custodian") {
  await t.page.goto(`${t.base}/signin#${token}`);
  await t.page.waitForSelector(".page h1");
}

/* Go to a page of the application and wait until it is there. */
export async function go(t, hash) {
  const old = await t.page.evaluate(() => location.hash);
  if (old !== hash) {
    await t.page.evaluate(to => { document.querySelector("main > .page, main > .signin")?.setAttribute("data-old", ""); location.hash = to; }, hash);
  }
  await t.page.waitForSelector("main > .page:not([data-old]) h1");
}

/* The whole page as it is in a window that tall, so that what is fixed stands where it belongs. */
export async function shot(t, name) {
  const size = t.page.viewportSize();
  const height = await t.page.evaluate(() => document.documentElement.scrollHeight);
  await t.page.setViewportSize({ width: size.width, height: Math.min(6000, Math.max(size.height, height)) });
  await t.page.screenshot({ path: path.join(SHOTS, `${name}.png`), animations: "disabled" });
  await t.page.setViewportSize(size);
}

/* Runs in the page; gives sentences, one for each thing that is wrong. */
function findings() {
  const wrong = [];
  const seen = el => { const b = el.getBoundingClientRect(); const c = getComputedStyle(el); return b.width > 0 && b.height > 0 && c.visibility !== "hidden"; };
  const say = el => `<${el.tagName.toLowerCase()}${el.id ? ` id=${el.id}` : ""} class="${el.getAttribute("class") ?? ""}"> ${(el.textContent ?? "").trim().slice(0, 40)}`;
  const text = ids => (ids ?? "").split(" ").map(id => document.getElementById(id)?.textContent ?? "").join(" ").trim();
  const name = el => el.getAttribute("aria-label") || text(el.getAttribute("aria-labelledby")) || [...el.labels ?? []].map(l => l.textContent).join(" ").trim() ||
    (el.matches("input, select, textarea") ? "" : el.textContent.trim()) || el.getAttribute("title");

  if (!document.documentElement.lang) wrong.push("no lang");
  if (!document.title.includes("Coffer")) wrong.push(`title "${document.title}"`);
  for (const [what, n] of [["main", 1], ["h1", 1]]) if ([...document.querySelectorAll(what)].filter(seen).length !== n) wrong.push(`not ${n} <${what}>`);
  let level = 1;
  for (const head of [...document.querySelectorAll("main :is(h1, h2, h3, h4)")].filter(seen)) {
    const now = Number(head.tagName[1]);
    if (now > level + 1 && !head.closest(".job")) wrong.push(`heading skips a level: ${say(head)}`);
    level = now;
  }
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) wrong.push(`two elements have id ${id}`);
  for (const el of document.querySelectorAll("a[href], button, input, select, textarea, progress, dialog, [role=img], [role=region]")) {
    if (seen(el) && !name(el)) wrong.push(`no name: ${say(el)}`);
  }
  for (const svg of document.querySelectorAll("svg")) if (svg.getAttribute("aria-hidden") !== "true" && svg.getAttribute("role") !== "img") wrong.push("an svg is neither hidden nor an image");
  for (const el of document.querySelectorAll("[style]")) if (el.getAttribute("style").replace(/display: (none)?;?/, "").trim()) wrong.push(`style attribute: ${say(el)}`);
  for (const el of document.querySelectorAll("[tabindex]")) if (el.tabIndex > 0) wrong.push(`tabindex above 0: ${say(el)}`);
  for (const table of document.querySelectorAll("table")) {
    if (!table.caption) wrong.push("a table has no caption");
    for (const th of table.querySelectorAll("th")) if (!th.scope) wrong.push(`th without scope: ${say(th)}`);
  }
  for (const el of document.querySelectorAll("[aria-describedby], label[for]")) {
    for (const id of (el.getAttribute("aria-describedby") ?? el.getAttribute("for")).split(" ")) if (!document.getElementById(id)) wrong.push(`refers to ${id}, which is not there`);
  }
  for (const el of document.querySelectorAll("button, select, input:not([type=radio], [type=checkbox])")) {
    const box = el.getBoundingClientRect();
    if (seen(el) && !el.matches(".sort") && (box.height < 24 || box.width < 24)) wrong.push(`smaller than 24 pixels: ${say(el)} ${box.width}×${box.height}`);
  }
  const over = document.documentElement.scrollWidth - innerWidth;
  if (over > 0) {
    const widest = [...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 3).map(say);
    wrong.push(`wider than the window by ${over}: ${widest.join(" | ")}`);
  }
  for (const box of document.querySelectorAll(".scroll")) if (box.scrollWidth > box.clientWidth + 1) wrong.push(`a table is wider than its place by ${box.scrollWidth - box.clientWidth} (${box.querySelector("caption")?.textContent})`);

  /* Contrast, as painted: backgrounds are blended down to the page's. */
  const ctx = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = css => {
    if (!known.has(css)) {
      ctx.clearRect(0, 0, 1, 1);
      ctx.fillStyle = css;
      ctx.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = ctx.getImageData(0, 0, 1, 1).data;
      known.set(css, [r, g, b, a / 255]);
    }
    return known.get(css);
  };
  const blend = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = el => {
    const layers = [];
    for (let e = el; e; e = e.parentElement) {
      layers.push(rgba(getComputedStyle(e).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    const base = rgba(getComputedStyle(document.body).backgroundColor);
    return layers.reverse().reduce((under, top) => blend(top, under), base);
  };
  const light = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const told = new Set();
  while (walk.nextNode()) {
    const el = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !seen(el) || el.closest(".vh, script, option, [aria-hidden=true], :disabled, thead") && !el.closest("thead th")) continue;
    if (el.closest(".vh")) continue;
    const c = getComputedStyle(el);
    const ground = behind(el);
    const ink = blend(rgba(el.ownerSVGElement ? c.fill : c.color), ground);
    const size = parseFloat(c.fontSize);
    const need = size >= 24 || size >= 18.66 && Number(c.fontWeight) >= 700 ? 3 : 4.5;
    const got = ratio(ink, ground);
    const key = `${el.tagName}.${el.className.baseVal ?? el.className}`;
    if (got < need && !told.has(key)) { told.add(key); wrong.push(`contrast ${got.toFixed(2)} under ${need}: ${say(el)}`); }
  }
  return wrong;
}

export async function sound(t, what) {
  assert.deepEqual(await t.page.evaluate(findings), [], what);
}

/* Requests that change something, as they were sent. */
export function changes(t) {
  const list = [];
  t.page.on("request", r => { if (r.method() !== "GET") list.push({ what: `${r.method()} ${new URL(r.url()).pathname.replace("/api/v1", "")}`, body: JSON.parse(r.postData() || "{}") }); });
  return list;
}

export const control = (base, body) => fetch(`${base}/mock`, { method: "POST", body: JSON.stringify(body) });
