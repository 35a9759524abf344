/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP API (docs/API.md), and who is signed in.
 *
 * Every failure is an ApiError that holds the server's own message; callers show it where the action was.
 */
const BASE = "/api/v1";
const RANK = { viewer: 1, operator: 2, custodian: 3, "key custodian": 3 };

export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;     // of HTTP; 0 when there was no answer
    this.status = status; // "notfound", "conflict", …
  }
}

export const session = { who: null, role: null, csrf: null, expires: null, onEnd: () => {} };

export const may = role => (RANK[session.role] ?? 0) >= RANK[role];

async function call(method, path, body, { signal } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && session.csrf) headers["X-Coffer-CSRF"] = session.csrf;
  let response, answer;
  try {
    response = await fetch(BASE + path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin", cache: "no-store" });
    const text = await response.text();
    answer = text ? JSON.parse(text) : null;
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new ApiError(response ? `cofferd answered ${response.status} with something that is not JSON` : "cofferd does not answer: is it running?",
      response?.status ?? 0, "io");
  }
  if (!response.ok) {
    const error = new ApiError(answer?.error?.message ?? `cofferd answered ${response.status}`, response.status, answer?.error?.status ?? "");
    if (response.status === 401 && path !== "/session") session.onEnd(error);
    throw error;
  }
  return answer;
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body = {}) => call("POST", path, body);
export const put = (path, body) => call("PUT", path, body);
export const del = (path, body) => call("DELETE", path, body);
export const enc = encodeURIComponent;

export async function signIn(token) {
  Object.assign(session, await post("/session", { token }));
}

export async function whoAmI() {
  Object.assign(session, await get("/session"));
}

export async function signOut() {
  await del("/session", {});
  Object.assign(session, { who: null, role: null, csrf: null });
}
