// Gaps in the data of an exchange that fails.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser, chartReady } from "./browser.mjs";
import { Exchanges, Service, until } from "./service.mjs";

/** The exchange closes its streams and answers no request, long enough to miss at least one whole minute. */
const OUTAGE_MS = 125_000;
const FAULTS = [
  { exchange: "binance", after_ms: 25_000, fault: "drop", for_ms: OUTAGE_MS },
  { exchange: "binance", after_ms: 25_000, fault: "http_500", for_ms: OUTAGE_MS },
];

let exchanges;
let service;
let browser;
before(async () => {
  exchanges = await Exchanges.start(FAULTS);
  service = await Service.start(exchanges.settings);
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  await service?.stop();
  exchanges?.stop();
});

test("a gap is shaded until it is repaired", { timeout: 330_000 }, async () => {
  const page = await browser.open(`${service.url}/?m=binance:BTC-USDT`);
  await chartReady(page);
  const chart = page.locator("[data-candles]");
  const gaps = async () => Number(await chart.getAttribute("data-gaps"));
  assert.equal(await gaps(), 0);
  await until("the gap is shaded", async () => (await gaps()) > 0, 180_000);
  // The crosshair on the gap says why.
  await chart.focus();
  await page.keyboard.press("ArrowLeft");
  await page
    .getByTestId("readout")
    .getByText(/Gap of/)
    .waitFor();
  await page.keyboard.press("Escape");
  await until("the gap is repaired", async () => (await gaps()) === 0, 120_000);
  const { complete } = await service.get("/v1/history?exchange=binance&symbol=BTC/USDT&limit=50");
  assert.equal(complete, true);
  assert.deepEqual(page.errors, []);
});
