/** The state of the page that is in its URL: `/?m=binance:BTC-USDT&i=1h`. */

import { type Interval, isInterval } from "./interval";
import { type Market, marketId, parseMarketId } from "./market";
import { isTimeZone, type TimeZone } from "./time";

export const PAGES = ["markets", "exchanges", "data", "keys"] as const;
export type Page = (typeof PAGES)[number];

export interface UrlState {
  page: Page;
  market: Market | null;
  interval: Interval;
  zone: TimeZone;
  /** A shared watchlist. */
  watchlist: Market[] | null;
}

/** Maximum number of markets of a shared watchlist. */
const MAX_SHARED = 200;

/** Parses a query string. Invalid values are ignored. */
export function parseUrl(search: string): UrlState {
  const query = new URLSearchParams(search);
  const page = query.get("p") as Page;
  const interval = query.get("i") ?? "";
  const zone = query.get("tz") ?? "";
  const shared = query.get("w");
  return {
    page: PAGES.includes(page) ? page : "markets",
    market: parseMarketId(query.get("m") ?? ""),
    interval: isInterval(interval) ? interval : "1m",
    zone: zone && isTimeZone(zone) ? zone : "UTC",
    watchlist: shared === null ? null : parseMarketList(shared),
  };
}

/** The query string of a state; defaults are omitted. */
export function formatUrl(state: UrlState): string {
  const query: string[] = [];
  // Colons and commas need no escape in a query, and remain readable.
  const add = (name: string, value: string) =>
    query.push(
      `${name}=${encodeURIComponent(value).replace(/%3A/g, ":").replace(/%2C/g, ",").replace(/%2F/g, "/")}`,
    );
  if (state.page !== "markets") add("p", state.page);
  if (state.market) add("m", marketId(state.market));
  if (state.interval !== "1m") add("i", state.interval);
  if (state.zone !== "UTC") add("tz", state.zone);
  if (state.watchlist) add("w", state.watchlist.map(marketId).join(","));
  return query.length > 0 ? `?${query.join("&")}` : "";
}

function parseMarketList(text: string): Market[] {
  const unique = new Map<string, Market>();
  for (const part of text.split(",")) {
    const market = parseMarketId(part);
    if (market) unique.set(marketId(market), market);
  }
  return [...unique.values()].slice(0, MAX_SHARED);
}
