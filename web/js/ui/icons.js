/* SPDX-License-Identifier: Apache-2.0 */
/* Line icons on a grid of 16. */
import { s } from "../dom.js";

const PATHS = {
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM10.6 10.6 14 14",
  lock: "M4 7.3h8v6.2H4zM5.7 7.3V5a2.3 2.3 0 0 1 4.6 0v2.3",
  plus: "M8 3v10M3 8h10",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  eye: "M1.5 8S4 3.6 8 3.6 14.5 8 14.5 8 12 12.4 8 12.4 1.5 8 1.5 8ZM8 9.8a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6Z",
  play: "M5 3.2v9.6L12.5 8z",
  stop: "M4 4h8v8H4z",
  pause: "M5.3 3.5v9M10.7 3.5v9",
  close: "m4 4 8 8M12 4l-8 8",
  check: "m3.2 8.4 3.1 3.1 6.5-7",
  warn: "M8 2.3 14.6 13.5H1.4zM8 6.5v3.2M8 11.6v.1",
  fail: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 5v3.6M8 10.9v.1",
  next: "m6 3.5 4.5 4.5L6 12.5",
  back: "M10 3.5 5.5 8l4.5 4.5",
  print: "M4.5 6V2.5h7V6M4.5 11H2.5V6h11v5h-2M4.5 9h7v4.5h-7z",
  leave: "M6.5 3h-4v10h4M6 8h7.5M10.8 5.2 13.5 8l-2.7 2.8",
  light: "M8 10.8a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6ZM8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1",
  dark: "M13.5 9.6A5.9 5.9 0 0 1 6.4 2.5a5.9 5.9 0 1 0 7.1 7.1Z",
  auto: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 2v12M8 5h3.5M8 8h5.5M8 11h3.5",
  rotate: "M13.6 6.5A5.8 5.8 0 0 0 3.2 4.9M2.4 9.5a5.8 5.8 0 0 0 10.4 1.6M3 2v3h3M13 14v-3h-3",
  backup: "M2 3h12v3H2zM3 6v7.5h10V6M6.2 9h3.6",
  key: "M5 14.2a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4ZM7.3 8.7l6-6M10.8 5.2l2 2",
  link: "M6.5 9.5a2.5 2.5 0 0 0 3.6 0l2.7-2.7a2.5 2.5 0 0 0-3.6-3.6l-.7.7M9.5 6.5a2.5 2.5 0 0 0-3.6 0L3.2 9.2a2.5 2.5 0 0 0 3.6 3.6l.7-.7",
};

export const icon = name => s("svg", { class: `icon i-${name}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: PATHS[name] }));
