/** The order of the watchlist. */

import type { StreamTicker } from "../stream/protocol";
import type { Market } from "./market";

export type SortKey = "market" | "last" | "change" | "volume" | "age";

export interface Sort {
  key: SortKey;
  descending: boolean;
}

/** Sorts markets; those without a value come last, whatever the direction. */
export function sortMarkets(
  markets: readonly Market[],
  sort: Sort | null,
  ticker: (market: Market) => StreamTicker | null,
): Market[] {
  if (!sort) return [...markets];
  const sign = sort.descending ? -1 : 1;
  if (sort.key === "market") {
    const name = ({ symbol, exchange }: Market) => `${symbol} ${exchange}`;
    return [...markets].sort((a, b) => sign * name(a).localeCompare(name(b), "en"));
  }
  const value = (market: Market): number | null => {
    const found = ticker(market);
    if (!found) return null;
    switch (sort.key) {
      case "last":
        return found.last;
      case "change":
        return found.change_percent;
      case "volume":
        return found.quote_volume;
      default:
        return -found.received_at;
    }
  };
  return markets
    .map((market) => ({ market, value: value(market) }))
    .sort((a, b) => {
      if (a.value === null || b.value === null) return Number(a.value === null) - Number(b.value === null);
      return sign * (a.value - b.value);
    })
    .map(({ market }) => market);
}

/** The next order after a click on a column: descending, ascending, then the user's own order. */
export function nextSort(sort: Sort | null, key: SortKey): Sort | null {
  const first = key !== "market";
  if (sort?.key !== key) return { key, descending: first };
  return sort.descending === first ? { key, descending: !first } : null;
}
