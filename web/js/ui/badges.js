/* SPDX-License-Identifier: Apache-2.0 */
/* States, ciphers and engines: each by word and shape, never by colour alone. */
import { h } from "../dom.js";
import { icon } from "./icons.js";

const ENGINES = { postgresql: ["PostgreSQL", "Pg"], mariadb: ["MariaDB", "Ma"], redis: ["Redis", "Re"], sqlite: ["SQLite", "Sq"] };
const TONES = {
  running: "good", complete: "good", done: "good", ok: "good", active: "good", sealed: "good",
  starting: "busy", stopping: "busy", creating: "busy", destroying: "busy", draining: "busy", fenced: "busy",
  paused: "warn", warn: "warn", stopped: "idle", cancelled: "idle", expired: "idle", destroyed: "idle", staged: "idle", none: "idle",
  proven: "calm", escrowed: "calm", failed: "bad", fail: "bad",
};

export const engineTitle = name => ENGINES[name]?.[0] ?? name;
export const engineMark = name => h("span", { class: `mark e-${name}`, "aria-hidden": "true" }, ENGINES[name]?.[1] ?? name.slice(0, 2));

export function cipherBadge(cipher) {
  const old = cipher === "aes-192";
  return h("span", { class: `badge cipher ${old ? "warn" : "good"}`, title: old ? "Legacy stack: move it to a v2 stack for AES-256" : null },
    icon("lock"), cipher.toUpperCase());
}

/* A running job is busy; a running database is well. */
export const state = (word, job = false) => h("span", { class: `state ${job && word === "running" ? "busy" : TONES[word] ?? "idle"}` }, h("i"), word);
export const badge = (text, tone = "idle") => h("span", { class: `badge ${tone}` }, text);
export const tone = word => TONES[word] ?? "idle";

/* What an observer of the database learns from a column: A nothing but lengths … D order. */
export function grade(leakage) {
  if (!leakage) return "–";
  const { grade: letter, text } = typeof leakage === "string" ? { grade: leakage, text: null } : leakage;
  return h("span", { class: "grade-line" }, h("b", { class: `grade g-${letter.toLowerCase().charAt(0)}` }, letter), text && h("span", {}, text));
}

export const keyId = id => id ? h("a", { class: "mono", href: `#/keys/${id}` }, id) : "–";
