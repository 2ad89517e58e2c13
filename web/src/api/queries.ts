/** The queries of the page, with how long their results are current. */

import type { Interval } from "../model/interval";
import type { Market } from "../model/market";
import { get } from "./client";
import type { QueryOptions } from "./query";
import type { Backfill, Coverage, CoveredRange, Exchange, History, Instrument, Key } from "./types";

export const exchangesQuery: QueryOptions<Exchange[]> = {
  key: "exchanges",
  load: async () => (await get("/v1/exchanges")).exchanges,
  refetchMs: 3000,
};

/** Maximum number of instruments of a search. */
const SEARCH_LIMIT = 5000;

export function searchQuery(exchange: string | null, text: string): QueryOptions<Instrument[]> {
  return {
    key: `search ${exchange ?? ""} ${text}`,
    load: async () => {
      const query = { ...(exchange ? { exchange } : {}), ...(text ? { q: text } : {}), limit: SEARCH_LIMIT };
      return (await get("/v1/instruments", query)).instruments;
    },
    staleMs: 60_000,
  };
}

/** All markets with a base asset. */
export function baseQuery(base: string): QueryOptions<Instrument[]> {
  return {
    key: `base ${base}`,
    load: async () => {
      const query = { base, limit: SEARCH_LIMIT };
      return (await get("/v1/instruments", query)).instruments;
    },
    staleMs: 300_000,
  };
}

/** Closes of the last day, for the sparkline of a market. */
export function sparklineQuery({ exchange, symbol }: Market): QueryOptions<number[]> {
  return {
    key: `sparkline ${exchange} ${symbol}`,
    load: async () => {
      const query = { exchange, symbol, interval: "30m", limit: 48 } as const;
      const history = (await get("/v1/history", query)) as History;
      return history.candles.map(({ close }) => close);
    },
    staleMs: 600_000,
    refetchMs: 900_000,
  };
}

/** Pages of coverage that are loaded at most, with 5,000 ranges each. */
const MAX_COVERAGE_PAGES = 10;

/** The coverage of a series from `start` to now. */
export function coverageQuery(
  { exchange, symbol }: Market,
  interval: Interval,
  start: number | null,
): QueryOptions<{ ranges: CoveredRange[]; isCut: boolean }> {
  return {
    key: `coverage ${exchange} ${symbol} ${interval} ${start ?? ""}`,
    load: async () => {
      const ranges: CoveredRange[] = [];
      let cursor: string | null = null;
      for (let page = 0; page < MAX_COVERAGE_PAGES; page++) {
        const query = {
          exchange,
          symbol,
          interval,
          limit: 5000,
          ...(start === null ? {} : { start }),
          ...(cursor === null ? {} : { cursor }),
        };
        const coverage: Coverage = await get("/v1/coverage", query);
        ranges.push(...coverage.ranges);
        cursor = coverage.next_cursor;
        if (cursor === null) break;
      }
      return { ranges, isCut: cursor !== null };
    },
    staleMs: 10_000,
    refetchMs: 30_000,
  };
}

export const backfillsQuery: QueryOptions<Backfill[]> = {
  key: "backfills",
  load: async () => (await get("/v1/backfills")).backfills,
  refetchMs: (backfills) => {
    const isActive = backfills?.some(({ state }) => state === "waiting" || state === "running");
    return isActive ? 1000 : 10_000;
  },
};

export const keysQuery: QueryOptions<Key[]> = {
  key: "keys",
  load: async () => (await get("/v1/keys")).keys,
};
