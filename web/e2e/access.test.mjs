// A service that requires keys.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, Browser, chartReady } from "./browser.mjs";
import { Service, until } from "./service.mjs";

let service;
let browser;
before(async () => {
  service = await Service.start({ CANDLEWICK__AUTH__REQUIRED: "true" });
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

test("a page without a valid key asks for one, and keeps it out of every address", async () => {
  const key = await service.command("keys", "create", "--name", "dashboard");
  const page = await browser.open(service.url);
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await assertAccessible(page, "the login page");
  await page.getByLabel("API key").fill("cw_00000000_0");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("unknown, expired or revoked").waitFor();
  // The service reads new keys every two seconds.
  await until("the key is accepted", async () => {
    const headers = { Authorization: `Bearer ${key}` };
    return (await fetch(`${service.url}/v1/exchanges`, { headers })).ok;
  });
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await chartReady(page);
  await page.getByText("Live", { exact: true }).waitFor();
  assert.ok(page.urls.some((url) => url.includes("/v1/stream?ticket=cwt_")));
  assert.deepEqual(
    page.urls.filter((url) => url.includes(key)),
    [],
  );
  assert.equal(await page.evaluate(() => Object.keys(localStorage).some((name) => /key/.test(name))), false);
});
