/* SPDX-License-Identifier: Apache-2.0 */
/* What the pages show: lists read once, then kept up by the server's events.
 *
 *   load("databases")            the Map, read when it is not here yet
 *   on("database", fn, signal)   fn(object) for each change; "reset" when everything may have changed; "link" when the stream breaks or is back
 */
import { get, enc } from "./api.js";

const LISTS = {
  databases: { path: "/databases", key: d => d.name, event: "database" },
  jobs: { path: "/jobs", key: j => j.id, event: "job" },
  backups: { path: "/backups", key: b => b.id, event: "backup" },
  keys: { path: "/keys", key: k => k.id, event: "key" },
};
const SAMPLES = 120;

const lists = new Map();
const loading = new Map();
const listeners = new EventTarget();
export const samples = new Map(); // job id → [{at, rate}], for sparklines
export const link = { up: true };

let source = null;
let wasUp = false;

export function on(kind, fn, signal) {
  listeners.addEventListener(kind, e => fn(e.detail), { signal });
}

function emit(kind, detail) {
  listeners.dispatchEvent(new CustomEvent(kind, { detail }));
}

export async function load(name, fresh = false) {
  if (lists.has(name) && !fresh) return lists.get(name);
  if (!loading.has(name)) {
    const { path, key } = LISTS[name];
    loading.set(name, get(path)
      .then(rows => { lists.set(name, new Map(rows.map(row => [key(row), row]))); return lists.get(name); })
      .finally(() => loading.delete(name)));
  }
  return loading.get(name);
}

export const have = name => lists.get(name);
export const stacks = () => get("/stacks");
export const detail = (name, signal) => get(`/databases/${enc(name)}/detail`, { signal });

async function readAgain(names) {
  await Promise.allSettled(names.filter(n => lists.has(n)).map(n => load(n, true)));
  emit("reset", null);
}

export const refresh = () => readAgain(Object.keys(LISTS));

function sample(job) {
  if (job.state !== "running") return;
  const list = samples.get(job.id) ?? [];
  list.push({ at: Date.now(), rate: job.rate ?? 0 });
  if (list.length > SAMPLES) list.shift();
  samples.set(job.id, list);
}

const over = state => state === "done" || state === "failed" || state === "cancelled";

/* An object came in, by an event or as the answer to an action. */
export function put(name, object) {
  const { key, event } = LISTS[name];
  const list = lists.get(name);
  const before = list?.get(key(object));
  if (name === "databases" && (object.gone || object.state === "destroyed")) list?.delete(key(object));
  else list?.set(key(object), { ...before, ...object });
  if (name === "jobs") {
    sample(object);
    /* What a job made or took away has no event of its own on every path: read again once it is over. */
    if (over(object.state) && (!before || !over(before.state))) readAgain(["databases", "backups", "keys"]);
  }
  emit(event, object);
}

/* "seq", "at" and "event" are the event's own, the rest is the object. */
function heard(name, { seq, at, event, ...object }) {
  put(name, { ...lists.get(name)?.get(LISTS[name].key(object)), ...object });
}

export function listen() {
  source?.close();
  source = new EventSource("/api/v1/events");
  for (const [name, { event }] of Object.entries(LISTS)) source.addEventListener(event, e => heard(name, JSON.parse(e.data)));
  source.addEventListener("reset", refresh);
  source.addEventListener("open", () => {
    link.up = true;
    emit("link", true);
    if (wasUp) refresh();
    wasUp = true;
  });
  source.addEventListener("error", () => {
    link.up = false;
    emit("link", false);
    /* The browser gives up by itself on an answer that is no stream, such as one of a proxy. */
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  });
}

export function silence() {
  source?.close();
  source = null;
  lists.clear();
  wasUp = false;
}
