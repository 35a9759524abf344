/* SPDX-License-Identifier: Apache-2.0 */
/* First contentful paint of the list of databases: paint.mjs LINK ROUNDS, where LINK signs in. With playwright-core of tests/browser. */
import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../../tests/browser/", import.meta.url))("playwright-core");
const [link, rounds] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
const page = await browser.newPage();
await page.goto(link);
await page.waitForSelector("tbody tr");
const paints = [];
for (let i = 0; i < Number(rounds); i++) {
  await page.goto("about:blank");
  await page.goto(`${new URL(link).origin}/#/databases`);
  await page.waitForSelector("tbody tr");
  paints.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime));
}
await browser.close();
paints.sort((a, b) => a - b);
console.log(`first contentful paint: median ${paints[paints.length >> 1].toFixed(0)} ms, ${paints[0].toFixed(0)}–${paints.at(-1).toFixed(0)}`);
