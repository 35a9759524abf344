/* SPDX-License-Identifier: Apache-2.0 */
/* Figures and times as people read them.  Times are shown in UTC, as the API and the audit log have them. */
import { h } from "./dom.js";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const grouped = new Intl.NumberFormat("en", { useGrouping: true });
const THIN = "\u202f";

export const number = n => grouped.format(n).replaceAll(",", THIN);
export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  let i = 0;
  while (n >= 1024 && i < UNITS.length - 1) { n /= 1024; i++; }
  return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${UNITS[i]}`;
}

/* "20 GiB", "512m", "1073741824"; NaN when it is no size. */
export function parseBytes(text) {
  const m = /^\s*([\d.]+)\s*([kmgtp])?(i?b)?\s*$/i.exec(text);
  return m ? Math.round(Number(m[1]) * 1024 ** ("kmgtp".indexOf((m[2] ?? "").toLowerCase()) + 1 || 0)) : NaN;
}

export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms === 0) return "none";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = Math.round(ms / 1000);
  if (ms < 10000) return `${(ms / 1000).toFixed(1)} s`;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min${seconds % 60 ? ` ${seconds % 60} s` : ""}`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds % 86400 / 3600)} h`;
}

/* Time left, not finer than it is known. */
export function left(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function span(ms) {
  const days = Math.abs(ms) / 86400000;
  if (days >= 730) return `${Math.round(days / 365)} years`;
  if (days >= 60) return `${Math.round(days / 30.4)} months`;
  if (days >= 2) return `${Math.round(days)} days`;
  if (days * 24 >= 2) return `${Math.round(days * 24)} hours`;
  if (days * 1440 >= 2) return `${Math.round(days * 1440)} min`;
  return "a minute";
}

/* Shorter, for tables: "3 d", "14 mo". */
export function brief(ms) {
  const days = Math.abs(ms) / 86400000;
  if (days >= 730) return `${Math.round(days / 365)} y`;
  if (days >= 60) return `${Math.round(days / 30.4)} mo`;
  if (days >= 2) return `${Math.round(days)} d`;
  return days * 24 >= 2 ? `${Math.round(days * 24)} h` : `${Math.max(1, Math.round(days * 1440))} min`;
}

export const ago = iso => {
  const ms = Date.now() - new Date(iso);
  return Math.abs(ms) < 60000 ? "just now" : ms > 0 ? `${span(ms)} ago` : `in ${span(ms)}`;
};

export const day = iso => iso.slice(0, 10);
export const minute = iso => iso.slice(0, 16).replace("T", " ");
export const second = iso => iso.slice(0, 19).replace("T", " ");

/* A time as text, with the exact one in its tooltip. */
export function when(iso, as = ago) {
  return iso ? h("time", { datetime: iso, title: `${second(iso)} UTC` }, as(iso)) : "–";
}

export const amount = (n, unit) => unit === "bytes" ? bytes(n) : `${number(Math.round(n))} ${unit ?? ""}`.trim();
