// SPDX-License-Identifier: Apache-2.0
// Each page, as it looks and as it is used, against mock.py.
import { after, before, test as timed } from "node:test";
import assert from "node:assert/strict";
import { LOOKS, changes, control, go, launch, mock, open, shot, signIn, sound, stopAll } from "./support.mjs";

const PAGES = {
  databases: ["#/databases", "Databases · Coffer"], database: ["#/databases/clinic", "clinic · Coffer"], keys: ["#/keys", "Keys · Coffer"],
  key: ["#/keys/17d5c90e", "Key 17d5c90e · Coffer"], rotations: ["#/rotations", "Rotations · Coffer"], backups: ["#/backups", "Backups · Coffer"],
  audit: ["#/audit", "Audit · Coffer"], compliance: ["#/compliance", "Compliance · Coffer"],
};
const test = (name, fn) => timed(name, { timeout: 60000 }, fn);
let browser, server;
before(async () => { [browser, server] = await Promise.all([launch(), mock()]); });
after(async () => { await browser?.close(); stopAll(); });

async function inPage(fn, { token = "custodian", look, base } = {}) {
  const t = await open(browser, base ?? server.url, look);
  try {
    if (token) await signIn(t, token);
    await fn(t, t.page);
  } catch (error) {
    await t.context.close();
    throw error;
  }
  await t.close();
}

for (const [look, options] of Object.entries(LOOKS)) {
  test(`every page is sound, and is kept as a picture: ${look}`, async () => {
    await inPage(async (t, page) => {
      for (const [name, [hash, title]] of Object.entries(PAGES)) {
        await go(t, hash);
        await page.waitForTimeout(name === "rotations" ? 1500 : 250);
        assert.equal(await page.title(), title);
        if (look !== "tablet") await shot(t, `${name}-${look}`);
        await sound(t, `${name}, ${look}`);
      }
    }, { look: options });
  });

  test(`dialogs are sound: ${look}`, async () => {
    await inPage(async (t, page) => {
      for (const [hash, button, name] of [["#/databases", "Create database", "create"], ["#/databases/billing", "Rotate disk key", "rotate"], ["#/databases/billing", "Destroy database", "destroy"], ["#/backups", "Restore to this moment", "restore"]]) {
        await go(t, hash);
        await page.getByRole("button", { name: button }).first().click();
        await page.waitForSelector("dialog[open]");
        await page.waitForTimeout(250);
        if (look !== "tablet") await page.screenshot({ path: `${process.env.COFFER_SCREENSHOTS}/dialog-${name}-${look}.png` });
        await sound(t, `dialog ${name}, ${look}`);
        await page.keyboard.press("Escape");
        await page.waitForSelector("dialog", { state: "detached" });
        assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), button, "focus goes back to what opened the dialog");
      }
    }, { look: options });
  });
}

test("a link that is used up explains itself, and the token is not left in the address", async () => {
  await inPage(async (t, page) => {
    await page.goto(`${t.base}/signin#nonsense`);
    await page.getByRole("heading", { name: "This link does not work any more" }).waitFor();
    assert.ok(!page.url().includes("nonsense"));
    assert.match(await page.textContent("main"), /coffer --state DIR signin/);
    await shot(t, "signin-light");
    await sound(t, "sign-in");
    await page.getByLabel("Or paste a link").fill(`${t.base}/signin#viewer`);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Databases", exact: true }).waitFor();
    assert.ok(page.url().endsWith("/#/databases"));
    assert.ok(!page.url().includes("viewer"));
  }, { token: null });
});

test("without a session every address asks to sign in; signing out ends it", async () => {
  await inPage(async (t, page) => {
    await page.goto(`${t.base}/#/keys`);
    await page.getByRole("heading", { name: "Sign in to Coffer" }).waitFor();
    await signIn(t);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Signed out" }).waitFor();
    assert.equal((await page.request.get(`${t.base}/api/v1/session`)).status(), 401);
  }, { token: null });
});

test("a session that ends in between is said", async () => {
  const own = await mock(3);
  await inPage(async (t, page) => {
    await control(own.url, { expire: true });
    await page.getByRole("link", { name: "Compliance" }).click();
    await page.getByRole("heading", { name: "Your session has ended" }).waitFor();
  }, { base: own.url });
  own.stop();
});

test("databases: search, filters and order are in the address, and are found again by going back", async () => {
  await inPage(async (t, page) => {
    await page.keyboard.press("/");
    assert.equal(await page.evaluate(() => document.activeElement.type), "search");
    await page.keyboard.type("wards");
    assert.equal(await page.locator("tbody tr").count(), 2);
    await page.getByRole("button", { name: "Size" }).click();
    assert.equal(await page.locator("th[aria-sort]").getAttribute("aria-sort"), "descending");
    await page.getByRole("link", { name: "wards-south" }).click();
    await page.getByRole("heading", { name: "wards-south", level: 1 }).waitFor();
    await page.goBack();
    await page.getByRole("heading", { name: "Databases", exact: true }).waitFor();
    assert.equal(await page.getByRole("searchbox").inputValue(), "wards");
    assert.equal(await page.locator("tbody tr").count(), 2);
    assert.equal(await page.locator("th[aria-sort]").innerText(), "Size");
    await page.getByRole("searchbox").fill("nothing like it");
    await page.getByRole("button", { name: "Clear the filter" }).click();
    assert.equal(await page.locator("tbody tr").count(), 16);
    await page.getByLabel("Any cipher").selectOption("aes-192");
    for (const badge of await page.locator("tbody .badge.cipher").allInnerTexts()) assert.equal(badge, "AES-192");
  });
});

test("the keyboard alone: skip link, rows by arrows, a row opens, focus is always seen", async () => {
  await inPage(async (t, page) => {
    await page.reload();
    await page.waitForSelector("tbody tr");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
    for (let i = 0; i < 30 && !await page.evaluate(() => document.activeElement.closest("tbody")); i++) {
      await page.keyboard.press("Tab");
      const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.notEqual(ring, "none", await page.evaluate(() => document.activeElement.outerHTML.slice(0, 100)));
    }
    const row = () => page.evaluate(() => document.activeElement.closest("tr")?.dataset.key);
    assert.equal(await row(), "appointments");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    assert.equal(await row(), "claims");
    await page.keyboard.press("ArrowRight");
    assert.match(await page.evaluate(() => document.activeElement.hash), /#\/keys\//);
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("End");
    assert.equal(await row(), "wards-south");
    await page.keyboard.press("Home");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.closest("tr")?.dataset.key ?? null), "appointments", "the links of one row come next");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "billing", level: 1 }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1", "a screen reader begins with the new page");
  });
});

test("creating a database: the server's message stays beside what was typed; then it is there", async () => {
  await inPage(async (t, page) => {
    const sent = changes(t);
    await page.getByRole("button", { name: "Create database" }).click();
    const dialog = page.getByRole("dialog");
    assert.ok(await dialog.getByRole("button", { name: "Create" }).isDisabled());
    await dialog.getByLabel("Name").fill("clinic");
    await dialog.getByLabel("Size limit").fill("20 parsecs");
    await dialog.getByRole("button", { name: "Create" }).click();
    assert.match(await dialog.getByRole("alert").innerText(), /20 parsecs/);
    await dialog.getByLabel("Size limit").fill("20 GiB");
    await dialog.getByLabel("Stack").selectOption("legacy");
    await dialog.getByRole("button", { name: "Create" }).click();
    await page.waitForFunction(() => /there is a database clinic already/.test(document.querySelector("dialog [role=alert]")?.textContent));
    await dialog.getByLabel("Name").fill("new-one");
    await dialog.getByRole("button", { name: "Create" }).click();
    await page.getByRole("heading", { name: "new-one", level: 1 }).waitFor();
    assert.deepEqual(sent.at(-1).body, { name: "new-one", engine: "postgresql", stack: "legacy", limit: 20 * 2 ** 30, archive: true });
    await page.locator(".head .state.good").waitFor();
    assert.equal(await page.locator(".strip .badge").first().innerText(), "AES-192");
  });
});

test("a viewer sees what may not be done, why, and nothing is sent", async () => {
  await inPage(async (t, page) => {
    const sent = changes(t);
    for (const [hash] of Object.values(PAGES)) {
      await go(t, hash);
      for (const button of await page.locator("button[aria-disabled=true]").all()) assert.ok(await button.getAttribute("data-tip"));
    }
    await go(t, "#/databases/billing");
    await page.getByRole("button", { name: /^Rotate disk key/ }).click({ force: true });
    await page.locator("#toasts", { hasText: "needs the role operator" }).waitFor();
    assert.equal(await page.locator("dialog").count(), 0);
    assert.equal(await page.getByRole("button", { name: "Destroy database (Needs the role key custodian)" }).getAttribute("aria-disabled"), "true");
    assert.deepEqual(sent, []);
    await sound(t, "viewer");
  }, { token: "viewer" });
});

test("the address of a database shows its password only when asked", async () => {
  await inPage(async (t, page) => {
    await go(t, "#/databases/billing");
    assert.ok(!(await page.content()).includes("pW8mZq2L"));
    await page.getByRole("button", { name: "Reveal" }).click();
    await page.getByText("pW8mZq2L").waitFor();
    await page.getByRole("button", { name: "Hide" }).click();
    assert.ok(!(await page.content()).includes("pW8mZq2L"));
    await page.getByRole("button", { name: "Copy connection URL" }).click();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^mariadb:\/\/coffer:/);
  }, { token: "operator" });
});

test("rotating a disk key: three methods with their downtime, and what is sent", async () => {
  await inPage(async (t, page) => {
    const sent = changes(t);
    await go(t, "#/databases/billing");
    await page.getByRole("button", { name: "Rotate disk key" }).click();
    const dialog = page.getByRole("dialog");
    assert.match(await dialog.innerText(), /no downtime/);
    assert.match(await dialog.innerText(), /15 min 12 s when last done/);
    assert.ok(await dialog.getByRole("radio", { name: /Replicate/ }).isDisabled(), "only PostgreSQL replicates");
    await dialog.getByLabel("Highest rate").fill("50 MiB");
    await dialog.getByRole("button", { name: "Rotate", exact: true }).click();
    await page.locator(".job").waitFor();
    assert.deepEqual(sent.at(-1), { what: "POST /databases/billing/rotate", body: { method: "online", kind: "reencrypt", rate: 50 * 2 ** 20 } });
    await page.locator(".job .state.good").waitFor();
  });
});

test("the rest of a database: stop, start, log, doctor, limit, retention", async () => {
  await inPage(async (t, page) => {
    const sent = changes(t);
    await go(t, "#/databases/pharmacy");
    await page.getByRole("button", { name: "Stop", exact: true }).click();
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.getByRole("button", { name: "Stop", exact: true }).waitFor();
    await page.getByRole("button", { name: "Read the end" }).click();
    await page.getByText("checkpoint complete").waitFor();
    await page.getByRole("button", { name: "Run again" }).click();
    await page.locator(".job .state.good").waitFor();
    await page.getByRole("region", { name: "Retention" }).getByRole("button", { name: "Change" }).click();
    await page.getByLabel("For so many days").fill("90");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText("90 days").waitFor();
    await page.getByRole("region", { name: "Volume" }).getByRole("button", { name: "Change" }).click();
    await page.getByLabel("Size limit").fill("1 TiB");
    await page.getByRole("button", { name: "Set limit" }).click();
    await page.getByText("1.0 TiB").first().waitFor();
    assert.deepEqual(sent.map(s => s.what), ["stop", "start", "doctor"].map(v => `POST /databases/pharmacy/${v}`).concat("PUT /databases/pharmacy/retention", "POST /databases/pharmacy/resize"));
  });
});

test("destroying a database needs its name, and the page says that it is gone", async () => {
  await inPage(async (t, page) => {
    await go(t, "#/databases/consent");
    await page.getByRole("button", { name: "Destroy database" }).click();
    const go2 = page.getByRole("dialog").getByRole("button", { name: "Destroy" });
    assert.ok(await go2.isDisabled());
    await page.getByLabel("Type consent to confirm").fill("consen");
    assert.ok(await go2.isDisabled());
    await page.getByLabel("Type consent to confirm").fill("consent");
    await go2.click();
    await page.getByRole("heading", { name: "consent is gone" }).waitFor({ timeout: 8000 });
  });
});

test("keys: states filter, a key shows what holds it, and two custodians end it", async () => {
  await inPage(async (t, page) => {
    await go(t, "#/keys");
    await page.getByRole("button", { name: "1 proven" }).click();
    assert.equal(await page.locator("tbody tr").count(), 1);
    await page.getByRole("link", { name: "9be2f106" }).click();
    await page.getByRole("heading", { name: "Key 9be2f106" }).waitFor();
    assert.match(await page.getByRole("img", { name: /Life of key/ }).getAttribute("aria-label"), /staged 20\d\d-.*proven 20/);
    await page.getByRole("button", { name: /^Destroy key/ }).click({ force: true });
    await page.locator("#toasts", { hasText: "it is held by backup" }).waitFor();
    await go(t, "#/keys/17d5c90e");
    await page.getByRole("button", { name: "Approve", exact: true }).click();
    await page.getByText("You have approved").or(page.locator("[data-tip='You have approved; another custodian must']")).first().waitFor({ state: "attached" });
    await page.getByRole("button", { name: "Destroy key" }).click();
    await page.getByLabel("Type 17d5c90e to confirm").fill("17d5c90e");
    await page.getByRole("dialog").getByRole("button", { name: "Destroy" }).click();
    await page.locator(".summary .state", { hasText: "destroyed" }).waitFor();
  });
});

test("rotations: figures move by themselves; pause, resume and throttle reach the server", async () => {
  await inPage(async (t, page) => {
    const sent = changes(t);
    await go(t, "#/rotations");
    const card = page.getByRole("article", { name: "Rotate disk key lab-results" });
    const amount = () => card.locator(".job-bar .dim").innerText();
    const was = await amount();
    await page.waitForFunction(old => document.querySelector(".job-bar .dim").textContent !== old, was);
    await page.waitForFunction(() => document.querySelector(".spark .line").getAttribute("d").split("L").length > 3);
    assert.equal(await card.locator("p[role=status]").count(), 1, "progress is announced");
    await card.getByRole("slider").focus();
    for (let i = 0; i < 50; i++) await page.keyboard.press("ArrowLeft");
    assert.equal(await card.getByRole("slider").getAttribute("aria-valuetext"), "32.0 MiB/s");
    await page.waitForFunction(() => parseFloat(document.querySelector(".job dd").textContent) < 45);
    assert.deepEqual(sent.at(-1), { what: "POST /jobs/71/throttle", body: { rate: 32 * 2 ** 20 } });
    await card.getByRole("button", { name: "Pause" }).click();
    await card.getByRole("button", { name: "Resume" }).waitFor();
    await card.getByRole("button", { name: "Resume" }).click();
    await card.getByRole("button", { name: "Pause" }).waitFor();
    await page.getByLabel("All kinds of jobs").check();
    assert.match(page.url(), /all=1/);
  });
});

test("backups: a moment is chosen by slider or typed, and restored under another name", async () => {
  await inPage(async (t, page) => {
    const sent = changes(t);
    await go(t, "#/backups?database=clinic");
    const exact = page.getByRole("region", { name: "Back to a moment" }).getByLabel("Exact time, UTC");
    const newest = await exact.inputValue();
    await page.getByRole("region", { name: "Back to a moment" }).getByRole("slider").focus();
    for (let i = 0; i < 400; i++) await page.keyboard.press("ArrowLeft");
    const chosen = await exact.inputValue();
    assert.ok(chosen < newest);
    await exact.fill("2001-01-01T00:00:01");
    await exact.blur();
    await page.getByText(/^Choose a time from/).waitFor();
    await exact.fill(chosen);
    await exact.blur();
    await page.getByRole("button", { name: "Restore to this moment" }).click();
    await page.getByLabel("Name of the new database").fill("clinic");
    await page.getByRole("dialog").getByRole("button", { name: "Restore" }).click();
    await page.getByText("there is a database clinic already").waitFor();
    await page.getByLabel("Name of the new database").fill("clinic-then");
    await page.getByRole("dialog").getByRole("button", { name: "Restore" }).click();
    await page.getByText("Restore begun").waitFor();
    assert.deepEqual(sent.at(-1).body, { as: "clinic-then", until: `${chosen.padEnd(19, ":00")}Z` });
    await page.getByRole("button", { name: /^Expire backup of clinic/ }).first().click();
    await page.getByRole("dialog").getByRole("button", { name: "Expire" }).click();
    await page.locator("#toasts", { hasText: "Expired" }).waitFor();
  });
});

test("audit: whole or broken, filtered", async () => {
  const own = await mock(3);
  await inPage(async (t, page) => {
    await go(t, "#/audit");
    await page.getByText("The chain is whole").waitFor();
    await page.getByLabel("Filter by event").fill("key.");
    await page.waitForFunction(() => [...document.querySelectorAll(".event")].every(e => e.textContent.startsWith("key.")));
    assert.match(page.url(), /event=key\./);
    await control(own.url, { broken: true });
    await go(t, "#/keys");
    await go(t, "#/audit");
    await page.getByText("The chain is broken").waitFor();
  }, { base: own.url });
  own.stop();
});

test("compliance prints without what surrounds it", async () => {
  await inPage(async (t, page) => {
    await go(t, "#/compliance");
    for (const rule of ["164.312(a)(2)(iv)", "164.312(e)(2)(ii)"]) await page.getByText(rule).waitFor();
    await page.emulateMedia({ media: "print" });
    assert.equal(await page.locator(".side").isVisible(), false);
    assert.equal(await page.getByRole("button", { name: "Print" }).isVisible(), false);
    await page.setViewportSize({ width: 760, height: 1075 });
    await shot(t, "compliance-print");
  });
});

test("a failure is shown where it happened, with the server's words, and as text", async () => {
  const own = await mock(3);
  await inPage(async (t, page) => {
    await control(own.url, { fail: "GET /compliance", status: 500, message: "state.db: disk I/O error <img src=x onerror=alert(1)>" });
    await page.getByRole("link", { name: "Compliance" }).click();
    await page.getByText("disk I/O error <img").waitFor();
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByRole("heading", { name: "Encryption of health information" }).waitFor();
    await go(t, "#/databases/billing");
    await control(own.url, { fail: "POST /databases/billing/stop", status: 409, word: "conflict", message: "billing has job 12 already" });
    await page.getByRole("button", { name: "Stop", exact: true }).click();
    await page.locator(".head .problem", { hasText: "billing has job 12 already" }).waitFor();
    await page.evaluate(() => { location.hash = "#/databases/none"; });
    await page.getByText("there is no database none").waitFor();
    await page.evaluate(() => { location.hash = "#/nowhere"; });
    await page.getByText("There is no page").waitFor();
    own.stop();
    await page.locator("#notice", { hasText: "cofferd does not answer" }).waitFor();
  }, { base: own.url });
});

test("colours follow the system, and the switch, which is remembered", async () => {
  await inPage(async (t, page) => {
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.getByRole("button", { name: /Colours as the system/ }).click();
    await page.getByRole("button", { name: /Light colours/ }).click();
    const dark = await ground();
    assert.notEqual(dark, light);
    await page.reload();
    await page.waitForSelector(".page h1");
    assert.equal(await ground(), dark);
  });
});

test("who asked for less motion gets none", async () => {
  await inPage(async (t, page) => {
    await page.waitForSelector(".pulse");
    assert.ok(await page.evaluate(() => parseFloat(getComputedStyle(document.querySelector(".pulse")).animationDuration) < .001));
  }, { look: { ...LOOKS.light, reducedMotion: "reduce" } });
});

test("1 000 databases: under 100 kB until the list stands, searched and turned at once", async () => {
  const own = await mock(1000);
  await inPage(async (t, page) => {
    let weight = 0;
    page.on("response", r => { if (!r.url().includes("/api/")) weight += Number(r.headers()["content-length"] ?? 0); });
    const paints = [];
    for (let i = 0; i < 5; i++) {
      await page.goto("about:blank");
      weight = 0;
      await page.goto(`${own.url}/#/databases`);
      await page.waitForSelector("tbody tr");
      paints.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime));
    }
    assert.ok(weight > 10000 && weight < 100000, `${weight} bytes`);
    console.log(`first contentful paint ${paints.map(Math.round).join(", ")} ms; ${weight} bytes before the list`);
    /* The aim is 100 ms from cofferd; this server is a slow one, and the machine may be busy. */
    assert.ok(Math.min(...paints) < 1000, `painted after ${paints} ms`);
    assert.equal(await page.locator("tbody tr").count(), 50);
    assert.match(await page.locator(".pager").innerText(), /1–50 of 1\u202f000/);
    await page.getByRole("button", { name: "Next page" }).click();
    assert.match(await page.locator(".pager").innerText(), /51–100/);
    const took = await page.evaluate(async () => {
      const box = document.querySelector("input[type=search]"), from = performance.now();
      box.value = "claims";
      box.dispatchEvent(new Event("input", { bubbles: true }));
      await new Promise(requestAnimationFrame);
      return performance.now() - from;
    });
    assert.ok(took < 100, `a search took ${took} ms`);
    assert.ok(await page.locator("tbody tr").count() > 40);
    await sound(t, "1 000 databases");
  }, { base: own.url });
  own.stop();
});
