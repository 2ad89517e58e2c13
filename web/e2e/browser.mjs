// Opens the dashboard in Chromium, and checks what holds on every page.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const CANDIDATES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The path of Chromium: CHROMIUM, or one of the usual ones. */
export function chromiumPath() {
  return [process.env.CHROMIUM, ...CANDIDATES].find((path) => path && existsSync(path));
}

export class Browser {
  static async start() {
    const browser = new Browser();
    // Without a sandbox, because containers often have none; the page is ours.
    const args = ["--no-sandbox"];
    // Replaced files have no address, so the browser takes them for a page of another network.
    if (process.env.E2E_DIST) args.push("--disable-features=LocalNetworkAccessChecks");
    browser.chromium = await chromium.launch({ executablePath: chromiumPath(), args });
    return browser;
  }

  stop() {
    return this.chromium.close();
  }

  /** Opens a page. `errors` collects what the browser complains about, `urls` what it requested. */
  async open(url, { width = 1440, height = 900, theme = "dark", zone = "UTC" } = {}) {
    const viewport = { width, height };
    const context = await this.chromium.newContext({ viewport, colorScheme: theme, timezoneId: zone });
    if (process.env.E2E_DIST) await serveDist(context);
    const page = await context.newPage();
    page.errors = [];
    page.urls = [];
    page.on("console", (message) => {
      // The browser reports each failed request too. Tests that interrupt the service cause some.
      const isNetwork = /Failed to load resource|WebSocket connection/.test(message.text());
      if (message.type() === "error" && !isNetwork) page.errors.push(message.text());
    });
    page.on("pageerror", (error) => page.errors.push(error.message));
    page.on("request", (request) => page.urls.push(request.url()));
    page.on("websocket", (socket) => page.urls.push(socket.url()));
    await page.goto(url);
    return page;
  }
}

/** Serves the files of `dist` in place of those in the binary: tests new sources without a build of the service. */
async function serveDist(context) {
  const folder = new URL("../dist/", import.meta.url).pathname;
  await context.route(/^http:\/\/[^/]+\/($|\?|assets\/|favicon)/, (route) => {
    const path = new URL(route.request().url()).pathname;
    return route.fulfill({ path: `${folder}${path === "/" ? "index.html" : path}` });
  });
}

/** Waits until the chart has candles. */
export async function chartReady(page) {
  await page.waitForFunction(() => Number(document.querySelector("[data-candles]")?.dataset.candles) > 0);
}

export async function candleCount(page) {
  return Number(await page.locator("[data-candles]").getAttribute("data-candles"));
}

/** Fails if axe finds a violation. */
export async function assertAccessible(page, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  const found = violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join("\n  ")}`,
  );
  assert.deepEqual(found, [], `axe on ${where}`);
}

/** Fails if the page is wider than the window. */
export async function assertNoOverflow(page, where) {
  const [content, window] = await page.evaluate(() => [
    document.documentElement.scrollWidth,
    document.documentElement.clientWidth,
  ]);
  assert.ok(content <= window, `${where} is ${content} px wide in a window of ${window} px`);
}
