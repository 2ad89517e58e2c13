// The dashboard in a browser, against the built service on simulated data.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, assertNoOverflow, Browser, candleCount, chartReady } from "./browser.mjs";
import { Service, until } from "./service.mjs";

const PAGES = ["/", "/?p=exchanges", "/?p=data&m=binance:BTC-USDT", "/?p=keys"];

/** Upper bound of the first paint on loopback. It is about 100 ms on a fast machine. */
const MAX_FIRST_PAINT_MS = 2000;

let service;
let browser;
before(async () => {
  service = await Service.start();
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

const open = (path, options) => browser.open(`${service.url}${path}`, options);
const isLive = (page) => page.getByText("Live", { exact: true }).waitFor();
const row = (page, at) => page.getByRole("option").nth(at);

test("the first paint is fast, and the page becomes live without errors", async () => {
  const page = await open("/");
  await isLive(page);
  await chartReady(page);
  const paint = await page.evaluate(
    () => performance.getEntriesByName("first-contentful-paint")[0].startTime,
  );
  console.log(`first contentful paint after ${Math.round(paint)} ms`);
  assert.ok(paint < MAX_FIRST_PAINT_MS);
  await row(page, 0)
    .getByText(/^\d[\d,.]*$/)
    .first()
    .waitFor();
  assert.match(await page.getByRole("complementary", { name: "Notice" }).textContent(), /Simulated data/);
  assert.deepEqual(page.errors, []);
});

test("the page loads nothing from elsewhere and forbids inline scripts", async () => {
  const page = await open("/");
  await chartReady(page);
  const host = new URL(service.url).host;
  assert.deepEqual(
    page.urls.filter((url) => new URL(url).host !== host),
    [],
  );
  const response = await fetch(service.url);
  assert.doesNotMatch(response.headers.get("content-security-policy"), /unsafe-inline|unsafe-eval|https?:/);
});

test("the list is painted at most five times per second", async () => {
  const page = await open("/");
  await row(page, 0)
    .getByText(/^\d[\d,.]*$/)
    .first()
    .waitFor();
  const paints = await page.evaluate(
    () =>
      new Promise((resolve) => {
        const times = new Set();
        const observer = new MutationObserver(() => times.add(Math.round(performance.now() / 20)));
        const options = { subtree: true, childList: true, characterData: true };
        observer.observe(document.querySelector("[role=listbox]"), options);
        setTimeout(() => resolve(times.size), 4000);
      }),
  );
  // Ages change once per second in addition.
  assert.ok(paints > 0 && paints <= 4 * 6 + 2, `${paints} paints in 4 s`);
});

test("search finds markets of all exchanges by keyboard", async () => {
  const page = await open("/");
  await chartReady(page);
  await page.keyboard.press("/");
  await page.getByRole("combobox", { name: "Search markets" }).waitFor();
  await page.keyboard.type("eth kraken");
  await page
    .getByRole("dialog")
    .getByRole("option", { name: /ETH\/USD.*kraken/ })
    .first()
    .waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL(/m=kraken:ETH-USD/);
  await page.getByRole("heading", { level: 1, name: /ETH\/USD/ }).waitFor();
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: "Search markets" }).waitFor();
  await page.keyboard.type("no such market");
  await page.getByText("No market contains").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
});

test("scrolling back loads 20,000 candles, equal to the history", { timeout: 180_000 }, async () => {
  const page = await open("/?m=binance:BTC-USDT");
  await chartReady(page);
  const chart = page.locator("[data-candles]");
  await chart.focus();
  await until(
    "20,000 candles are loaded",
    async () => {
      await page.keyboard.press("Home");
      return (await candleCount(page)) >= 20_000;
    },
    150_000,
  );
  // The crosshair on the oldest candle.
  for (let at = 0; at < 3; at++) await page.keyboard.press("Home");
  await page.keyboard.press("ArrowLeft");
  const time = Number(await page.getByTestId("readout").getAttribute("data-time"));
  const { candles } = await service.get(`/v1/history?exchange=binance&symbol=BTC/USDT&start=${time}&limit=1`);
  assert.equal(candles[0].timestamp, time);
  assert.ok((await readout(page)).includes(prices(candles)));
});

for (const interval of ["1m", "1h"]) {
  test(`the open ${interval} candle equals the history`, async () => {
    const page = await open(`/?m=binance:BTC-USDT&i=${interval}`);
    await chartReady(page);
    await until("the readout equals the history", async () => {
      const query = `exchange=binance&symbol=BTC/USDT&interval=${interval}&limit=1`;
      return (await readout(page)).includes(prices((await service.get(`/v1/history?${query}`)).candles));
    });
  });
}

test("the open 1w candle equals its days in the history", async () => {
  const page = await open("/?m=binance:BTC-USDT&i=1w");
  await chartReady(page);
  const monday = new Date();
  monday.setUTCDate(monday.getUTCDate() - ((monday.getUTCDay() + 6) % 7));
  const query = `exchange=binance&symbol=BTC/USDT&interval=1d&start=${monday.toISOString().slice(0, 10)}`;
  await until("the readout equals the history", async () => {
    return (await readout(page)).includes(prices((await service.get(`/v1/history?${query}`)).candles));
  });
});

test("after a kill of the service the page says so, reconnects and continues", {
  timeout: 60_000,
}, async () => {
  const page = await open("/");
  const status = page.getByRole("status").first();
  await until("live", async () => (await status.textContent()) === "Live");
  await service.kill();
  await until("reconnecting", async () => (await status.textContent()) === "Reconnecting");
  await service.run();
  await until("live again", async () => (await status.textContent()) === "Live");
  const price = async () => (await row(page, 0).textContent()) ?? "";
  const first = await price();
  await until("prices move again", async () => (await price()) !== first);
  assert.deepEqual(page.errors, []);
});

for (const theme of ["dark", "light"]) {
  test(`axe finds nothing in the ${theme} theme`, { timeout: 180_000 }, async () => {
    for (const path of PAGES) {
      const page = await open(path, { theme });
      await isLive(page);
      if (path === "/") await chartReady(page);
      else await page.getByRole("heading", { level: 2 }).first().waitFor();
      await assertAccessible(page, `${path} (${theme})`);
      await page.context().close();
    }
    const page = await open("/", { theme });
    await page.keyboard.press("/");
    await page.getByRole("dialog").getByRole("option").first().waitFor();
    await assertAccessible(page, `search (${theme})`);
  });
}

test("everything works by keyboard alone", async () => {
  const page = await open("/?m=binance:BTC-USDT");
  await chartReady(page);
  const focusOn = async (role, name) => {
    for (let at = 0; at < 60; at++) {
      await page.keyboard.press("Tab");
      const isFocused = await page
        .getByRole(role, { name })
        .first()
        .evaluate((element) => element === document.activeElement);
      if (isFocused) return;
    }
    assert.fail(`Tab does not reach the ${role} ${name}`);
  };
  await focusOn("listbox", /Watched markets/);
  await page.keyboard.press("ArrowDown");
  await page.waitForURL(/m=binance:ETH-USDT/);
  await focusOn("button", /^4h$/);
  await page.keyboard.press("Enter");
  await page.waitForURL(/i=4h/);
  await chartReady(page);
  await focusOn("group", /Candles of ETH\/USDT/);
  const shownTime = () => page.getByTestId("readout").getAttribute("data-time");
  const latest = await shownTime();
  for (let at = 0; at < 5; at++) await page.keyboard.press("ArrowLeft");
  assert.notEqual(await shownTime(), latest);
  await page.keyboard.press("Escape");
  await focusOn("combobox", "Time zone");
});

test("pages fit a window of 360 px", async () => {
  for (const path of PAGES) {
    const page = await open(path, { width: 360, height: 740 });
    await isLive(page);
    if (path === "/") await chartReady(page);
    await assertNoOverflow(page, path);
    await page.context().close();
  }
});

test("the watchlist is kept in the browser and can be shared as a link", async () => {
  const page = await open("/");
  await chartReady(page);
  const count = await page.getByRole("option").count();
  await page.getByRole("listbox").focus();
  await page.keyboard.press("Delete");
  await until("the market is removed", async () => (await page.getByRole("option").count()) === count - 1);
  await page.reload();
  await chartReady(page);
  assert.equal(await page.getByRole("option").count(), count - 1);
  await page.getByRole("button", { name: /Share/ }).click();
  await page.waitForURL(/w=/);
  const other = await open(new URL(page.url()).pathname + new URL(page.url()).search);
  await chartReady(other);
  assert.equal(await other.getByRole("option").count(), count - 1);
});

test("a hole is fetched by a backfill that the page starts", { timeout: 60_000 }, async () => {
  const page = await open("/?p=data&m=okx:ETH-USDT&i=1h");
  await page.getByLabel("Since").fill(new Date(Date.now() - 30 * 86_400_000).toISOString().slice(0, 10));
  await page.getByRole("button", { name: "Backfill", exact: true }).last().click();
  await page.getByRole("region", { name: "Backfills" }).getByText("done").waitFor({ timeout: 40_000 });
});

test("keys are created, shown once and revoked", async () => {
  const page = await open("/?p=keys");
  await page.getByLabel("Name").fill("grid bot");
  await page.getByRole("button", { name: "Create key" }).click();
  const text = await page.getByRole("dialog").getByText(/^cw_/).textContent();
  await page.getByRole("button", { name: "Close" }).click();
  await page.getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("button", { name: "Revoke the key" }).click();
  await page.getByRole("cell", { name: "revoked" }).waitFor();
  assert.ok(!(await page.content()).includes(text));
});

/** Text of the readout without thousands separators and spaces. */
async function readout(page) {
  return (await page.getByTestId("readout").textContent()).replaceAll(",", "").replaceAll(/\s/g, "");
}

/** Prices of a candle that consists of other candles, as the readout shows them. */
function prices(candles) {
  const open = candles[0].open.toFixed(2);
  const high = Math.max(...candles.map((candle) => candle.high)).toFixed(2);
  const low = Math.min(...candles.map((candle) => candle.low)).toFixed(2);
  return `O${open}H${high}L${low}C${candles.at(-1).close.toFixed(2)}`;
}
