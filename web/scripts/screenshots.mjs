// Writes the screenshots of the README from a service with simulated data: `node scripts/screenshots.mjs`.
import { mkdirSync } from "node:fs";
import { Browser, chartReady } from "../e2e/browser.mjs";
import { Service } from "../e2e/service.mjs";

const folder = new URL("../../docs/images/", import.meta.url).pathname;
mkdirSync(folder, { recursive: true });

/** Time in which tickers and trades arrive. */
const SETTLE_MS = 20_000;

const service = await Service.start();
const browser = await Browser.start();
const market = "/?m=binance:BTC-USDT&i=15m";
await fetch(`${service.url}/v1/backfills`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ exchange: "binance", symbol: "BTC/USDT", interval: "1h", since: "2026-01-01" }),
});
const shots = [
  { name: "markets-dark", path: market, theme: "dark" },
  { name: "markets-light", path: market, theme: "light" },
  { name: "markets-phone", path: market, theme: "dark", width: 390, height: 844 },
  { name: "data-light", path: "/?p=data&m=binance:BTC-USDT&i=1h", theme: "light" },
];
for (const { name, path, ...options } of shots) {
  const page = await browser.open(service.url + path, options);
  if (path === market) await chartReady(page);
  await page.waitForTimeout(SETTLE_MS);
  await page.screenshot({ path: `${folder}${name}.png` });
  console.log(`docs/images/${name}.png`);
  await page.context().close();
}
await browser.stop();
await service.stop();
