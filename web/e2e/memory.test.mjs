// Memory and processor time of a page that stays open. E2E_MINUTES sets how long; the default is short.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser, chartReady } from "./browser.mjs";
import { Service } from "./service.mjs";

const MINUTES = Number(process.env.E2E_MINUTES ?? 1);
const MARKETS = 50;

/** Growth of the heap that is not a leak: caches that fill. */
const MAX_GROWTH = 1.25;
const MAX_CPU = 0.15;

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

test(`the heap stays flat for ${MINUTES} min with ${MARKETS} markets`, {
  timeout: (MINUTES + 2) * 60_000,
}, async () => {
  const { instruments } = await service.get("/v1/instruments?limit=5000");
  const watched = instruments
    .slice(0, MARKETS)
    .map(({ exchange, symbol }) => `${exchange}:${symbol.replace("/", "-")}`);
  const page = await browser.open(`${service.url}/?w=${watched.join(",")}`, { height: 2600 });
  await chartReady(page);
  const devtools = await page.context().newCDPSession(page);
  // Processor time of the page's main thread, whatever else runs on this machine.
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  const measure = async () => {
    await devtools.send("HeapProfiler.collectGarbage");
    const { metrics } = await devtools.send("Performance.getMetrics");
    const value = (wanted) => metrics.find(({ name }) => name === wanted).value;
    return { heap: value("JSHeapUsedSize"), busy: value("TaskDuration"), at: performance.now() / 1000 };
  };
  // The first seconds fill the candles, the sparklines and the trades.
  await page.waitForTimeout(20_000);
  const first = await measure();
  await page.waitForTimeout(MINUTES * 60_000);
  const last = await measure();
  const cpu = (last.busy - first.busy) / (last.at - first.at);
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  console.log(
    `heap ${megabytes(first.heap)} to ${megabytes(last.heap)}, ${(cpu * 100).toFixed(1)} % of a core, ${watched.length} markets`,
  );
  assert.ok(last.heap < first.heap * MAX_GROWTH);
  assert.ok(cpu < MAX_CPU);
});
