/* SPDX-License-Identifier: Apache-2.0 */
/* Signing in with a one-time link.  The token is in the fragment of the address, which no server and no log sees; it is taken out at once. */
import { h } from "../dom.js";
import { signIn } from "../api.js";
import { problem } from "../ui/actions.js";
import { icon } from "../ui/icons.js";

const command = text => h("code", { class: "command" }, text);

const how = () => h("div", { class: "how" },
  h("p", {}, "Links are printed by the command, for the owner of the state folder:"), command("coffer --state DIR signin"),
  h("p", { class: "hint" }, "A link works once, within ten minutes. Others get theirs from a key custodian, with the role that they shall have."));

/* why: {token} {out} {ended: message} {failed: error} or {}; done: called once signed in */
export function page(why, done) {
  const place = h("div", { class: "signin-words", "aria-live": "polite" });
  const head = h("h1", { tabindex: "-1" }, "Sign in");

  const say = (title, ...words) => { head.textContent = title; place.replaceChildren(...words.flat()); head.focus(); };

  async function enter(token) {
    place.replaceChildren(h("p", {}, "Checking the link…"));
    history.replaceState(null, "", "/signin");
    try {
      await signIn(token);
    } catch (error) {
      return error.code === 401 || error.code === 400
        ? say("This link does not work any more", h("p", {}, `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`.replace(/\.\.$/, ".")), how())
        : say("Sign in", problem(error, () => enter(token)), how());
    }
    return done();
  }

  const paste = h("form", { class: "paste", on: { submit: e => {
    e.preventDefault();
    const text = new FormData(e.target).get("link").trim();
    if (text) enter(text.split("#").pop());
  } } }, h("label", { for: "signin-link" }, "Or paste a link"),
  h("div", {}, h("input", { id: "signin-link", name: "link", type: "password", autocomplete: "off", spellcheck: "false" }), h("button", { class: "primary" }, "Sign in")));

  if (why.token) enter(why.token);
  else if (why.ended) say("Your session has ended", h("p", {}, why.ended), how());
  else if (why.out) say("Signed out", how());
  else if (why.failed) say("Cannot reach cofferd", problem(why.failed, () => location.reload()));
  else say("Sign in to Coffer", how());

  return h("div", { class: "signin" }, h("div", { class: "signin-card" }, h("div", { class: "signin-mark" }, icon("lock")), head, place, paste));
}
