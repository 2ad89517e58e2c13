/** The watchlist, kept in the browser. */

import { type Market, marketId, parseMarketId, sameMarket } from "./market";

const KEY = "candlewick.watchlist";

/** Maximum number of markets: a socket has 1,024 topics. */
export const MAX_WATCHED = 200;

/** The part of `Storage` that is used. */
export type Storage = Pick<globalThis.Storage, "getItem" | "setItem">;

/** The stored watchlist; null if there is none. */
export function loadWatchlist(storage: Storage): Market[] | null {
  try {
    const stored: unknown = JSON.parse(storage.getItem(KEY) ?? "null");
    if (!Array.isArray(stored)) return null;
    return stored
      .flatMap((id) => (typeof id === "string" ? (parseMarketId(id) ?? []) : []))
      .slice(0, MAX_WATCHED);
  } catch {
    // Storage is disabled, or its content is not ours.
    return null;
  }
}

export function saveWatchlist(storage: Storage, watchlist: readonly Market[]): void {
  try {
    storage.setItem(KEY, JSON.stringify(watchlist.map(marketId)));
  } catch {
    // Storage is disabled or full: the list lives as long as the page.
  }
}

/** The watchlist with a market at its top. */
export function addMarket(watchlist: readonly Market[], market: Market): Market[] {
  return [market, ...watchlist.filter((other) => !sameMarket(other, market))].slice(0, MAX_WATCHED);
}

export function removeMarket(watchlist: readonly Market[], market: Market): Market[] {
  return watchlist.filter((other) => !sameMarket(other, market));
}
