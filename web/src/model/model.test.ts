import { describe, expect, it } from "vitest";
import type { Instrument } from "../api/types";
import type { StreamTicker } from "../stream/protocol";
import { calendar, dayLevel, holes, stateAt } from "./coverage";
import { candlesToCsv } from "./csv";
import {
  decimalsOf,
  direction,
  formatAge,
  formatAmount,
  formatChange,
  formatDuration,
  formatPrice,
  plural,
  priceDecimals,
} from "./format";
import { candlesBetween, DAY, floorTime, nextOpen } from "./interval";
import { afterBase, baseOf, marketId, parseMarketId, quoteOf } from "./market";
import { matchesSearch, parseSearch, rankInstruments } from "./search";
import { nextSort, sortMarkets } from "./sort";
import { formatClock, formatOpenTime, formatTick, isTimeZone, zoneName } from "./time";
import { formatUrl, parseUrl } from "./url";
import { addMarket, loadWatchlist, MAX_WATCHED, removeMarket, saveWatchlist } from "./watchlist";

const btc = { exchange: "binance", symbol: "BTC/USDT" };
const eth = { exchange: "kraken", symbol: "ETH/USD" };

describe("intervals", () => {
  it("aligns weeks to Monday and months to the first day, in UTC", () => {
    const at = Date.UTC(2026, 10, 21, 14, 7, 30);
    expect(floorTime("5m", at)).toBe(Date.UTC(2026, 10, 21, 14, 5));
    expect(floorTime("1w", at)).toBe(Date.UTC(2026, 10, 16));
    expect(floorTime("1M", at)).toBe(Date.UTC(2026, 10, 1));
    expect(nextOpen("1M", Date.UTC(2026, 11, 5))).toBe(Date.UTC(2027, 0, 1));
    expect(nextOpen("1w", at)).toBe(Date.UTC(2026, 10, 23));
  });

  it("counts candles", () => {
    expect(candlesBetween("1h", 0, DAY)).toBe(24);
    expect(candlesBetween("1M", Date.UTC(2025, 10, 1), Date.UTC(2026, 1, 1))).toBe(3);
    expect(candlesBetween("1h", DAY, 0)).toBe(0);
  });
});

describe("numbers", () => {
  it("shows the decimals of the price step, else those of the prices", () => {
    expect([0.01, 1e-8, 0.5, 1, 10, 1.5e-7].map(decimalsOf)).toEqual([2, 8, 1, 0, 0, 8]);
    expect(priceDecimals(0.1, [1.2345])).toBe(1);
    expect(priceDecimals(null, [1.5, null, 1.25])).toBe(2);
    expect(formatPrice(64129.1, 2)).toBe("64,129.10");
    expect(formatPrice(0.00000123, 8)).toBe("0.00000123");
    expect(formatPrice(null, 2)).toBe("–");
  });

  it("formats changes, amounts and times", () => {
    expect([1.534, -0.2, 0, -0.001, null].map(formatChange)).toEqual([
      "+1.53%",
      "−0.20%",
      "0.00%",
      "0.00%",
      "–",
    ]);
    expect([0, 0.012345, 999.99, 1_234_567].map(formatAmount)).toEqual(["0", "0.01235", "1,000", "1.23M"]);
    expect([200, 5400, 61_000, 7_200_000, 3 * DAY].map(formatAge)).toEqual(["now", "5s", "1m", "2h", "3d"]);
    expect([40, 5000, 65_000, 7_500_000, DAY].map(formatDuration)).toEqual([
      "40ms",
      "5s",
      "1m 5s",
      "2h 5m",
      "1d",
    ]);
    expect([plural(1, "candle"), plural(2000, "candle")]).toEqual(["1 candle", "2,000 candles"]);
    expect([1, -1, 0, null].map(direction)).toEqual(["up", "down", "flat", "flat"]);
  });
});

describe("times", () => {
  const winter = Date.UTC(2026, 0, 15, 14, 5, 9);

  it("formats in a zone, with its daylight-saving time", () => {
    expect(formatClock("UTC", winter, true)).toBe("14:05:09");
    expect(formatClock("America/New_York", winter)).toBe("09:05");
    expect(formatClock("America/New_York", Date.UTC(2026, 6, 15, 14, 5))).toBe("10:05");
    expect(formatOpenTime("1h", "Asia/Tokyo", winter)).toBe("15 Jan 2026 23:05");
    expect(formatOpenTime("1d", "Asia/Tokyo", Date.UTC(2026, 0, 15))).toBe("15 Jan 2026");
    expect(zoneName("UTC", winter)).toBe("UTC");
  });

  it("labels ticks with the largest unit that starts there", () => {
    expect(formatTick("1h", "UTC", Date.UTC(2026, 0, 15, 14))).toBe("14:00");
    expect(formatTick("1h", "UTC", Date.UTC(2026, 0, 15))).toBe("15 Jan");
    // Midnight in New York, not in UTC, starts the day.
    expect(formatTick("1h", "America/New_York", Date.UTC(2026, 0, 15))).toBe("19:00");
    expect(formatTick("1h", "America/New_York", Date.UTC(2026, 0, 15, 5))).toBe("15 Jan");
    expect(formatTick("1d", "America/New_York", Date.UTC(2026, 2, 1))).toBe("Mar");
    expect(formatTick("1d", "UTC", Date.UTC(2026, 0, 1))).toBe("2026");
  });

  it("knows valid zones", () => {
    expect([isTimeZone("local"), isTimeZone("Europe/Berlin"), isTimeZone("Mars/Olympus")]).toEqual([
      true,
      true,
      false,
    ]);
  });
});

describe("markets and URL", () => {
  it("round-trips market ids", () => {
    expect(marketId(btc)).toBe("binance:BTC-USDT");
    expect(parseMarketId("binance:BTC-USDT")).toEqual(btc);
    expect(parseMarketId("binance:BTC/USDT")).toEqual(btc);
    const contract = { exchange: "okx", symbol: "BTC/USD:BTC-261225" };
    expect(parseMarketId(marketId(contract))).toEqual(contract);
    expect([baseOf(contract.symbol), quoteOf(contract.symbol), afterBase(contract.symbol)]).toEqual([
      "BTC",
      "USD",
      "USD:BTC-261225",
    ]);
    expect(["", "binance", "binance:BTC", "x y:A-B"].map(parseMarketId)).toEqual(Array(4).fill(null));
  });

  it("round-trips the state and omits defaults", () => {
    const state = parseUrl(
      "?m=binance:BTC-USDT&i=1h&p=data&tz=Asia/Tokyo&w=kraken:ETH-USD,nonsense,kraken:ETH-USD",
    );
    expect(state).toEqual({
      page: "data",
      market: btc,
      interval: "1h",
      zone: "Asia/Tokyo",
      watchlist: [eth],
    });
    expect(parseUrl(formatUrl(state))).toEqual(state);
    expect(formatUrl(parseUrl(""))).toBe("");
    expect(formatUrl({ ...parseUrl(""), market: btc, interval: "1M" })).toBe("?m=binance:BTC-USDT&i=1M");
  });

  it("ignores invalid values", () => {
    expect(parseUrl("?p=admin&i=7m&tz=Mars&m=%3Cscript%3E")).toEqual(parseUrl(""));
  });
});

describe("watchlist", () => {
  const storage = (content: string | null) => {
    const stored = { content };
    return {
      stored,
      getItem: () => stored.content,
      setItem: (_: string, value: string) => {
        stored.content = value;
      },
    };
  };

  it("is kept in the browser", () => {
    const browser = storage(null);
    expect(loadWatchlist(browser)).toBeNull();
    saveWatchlist(browser, [btc, eth]);
    expect(loadWatchlist(browser)).toEqual([btc, eth]);
  });

  it("survives foreign content and disabled storage", () => {
    expect(loadWatchlist(storage("{"))).toBeNull();
    expect(loadWatchlist(storage('{"a":1}'))).toBeNull();
    expect(loadWatchlist(storage('["binance:BTC-USDT",7,"x"]'))).toEqual([btc]);
    const disabled = () => {
      throw new Error("denied");
    };
    expect(loadWatchlist({ getItem: disabled, setItem: disabled })).toBeNull();
    saveWatchlist({ getItem: disabled, setItem: disabled }, [btc]);
  });

  it("adds once, at the top, and is bounded", () => {
    expect(addMarket([btc, eth], eth)).toEqual([eth, btc]);
    expect(removeMarket([btc, eth], btc)).toEqual([eth]);
    const full = Array.from({ length: MAX_WATCHED }, (_, at) => ({ exchange: "x", symbol: `A${at}/B` }));
    expect(addMarket(full, btc)).toHaveLength(MAX_WATCHED);
  });
});

describe("sorting", () => {
  const prices: Record<string, number | null> = { "A/B": 2, "C/D": null, "E/F": 5 };
  const markets = Object.keys(prices).map((symbol) => ({ exchange: "x", symbol }));
  const ticker = ({ symbol }: { symbol: string }) => ({ last: prices[symbol] }) as StreamTicker;

  it("puts markets without a value last in both directions", () => {
    const order = (descending: boolean) =>
      sortMarkets(markets, { key: "last", descending }, ticker).map(({ symbol }) => symbol);
    expect(order(true)).toEqual(["E/F", "A/B", "C/D"]);
    expect(order(false)).toEqual(["A/B", "E/F", "C/D"]);
  });

  it("returns to the own order with the third click", () => {
    const first = nextSort(null, "change");
    expect(first).toEqual({ key: "change", descending: true });
    expect(nextSort(first, "change")).toEqual({ key: "change", descending: false });
    expect(nextSort({ key: "change", descending: false }, "change")).toBeNull();
    expect(nextSort(first, "market")).toEqual({ key: "market", descending: false });
  });
});

describe("search", () => {
  it("takes names of exchanges out of the text", () => {
    const exchanges = ["binance", "kraken"];
    expect(parseSearch("btc usdt", exchanges)).toEqual({ exchange: null, text: "BTC/USDT" });
    expect(parseSearch("Kraken eth-usd", exchanges)).toEqual({ exchange: "kraken", text: "ETH/USD" });
    expect(parseSearch("binance:BTC-USDT", exchanges)).toEqual({ exchange: "binance", text: "BTC/USDT" });
  });

  it("matches symbols, native symbols and exchanges", () => {
    const instrument = { exchange: "kraken", symbol: "BTC/USD", native: "XBTUSD" } as Instrument;
    const matches = (input: string) => matchesSearch(parseSearch(input, ["kraken", "okx"]), instrument);
    expect(["btc", "xbt kraken", "btc usd", "btc okx", "eth"].map(matches)).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
  });

  it("ranks an equal base before a longer one, and collected markets first", () => {
    const instrument = (symbol: string, exchange = "binance") => {
      const [base, quote] = symbol.split("/");
      return { exchange, symbol, base, quote, active: true } as Instrument;
    };
    const found = [
      instrument("WBTC/USDT"),
      instrument("BTC/EUR"),
      instrument("BTC/USDT"),
      instrument("BTC/USD", "kraken"),
    ];
    const ranked = rankInstruments(found, "BTC", ({ exchange }) => exchange === "kraken");
    expect(ranked.map(({ symbol }) => symbol)).toEqual(["BTC/USD", "BTC/USDT", "BTC/EUR", "WBTC/USDT"]);
  });
});

describe("coverage", () => {
  const range = (start: number, end: number, state: string) => ({ start, end, state });
  const ledger = [
    range(0, DAY, "fetched"),
    range(DAY, 1.5 * DAY, "observed"),
    range(2 * DAY, 3 * DAY, "unavailable"),
    range(3 * DAY, 4 * DAY, "empty"),
  ];

  it("shows the known part of each day", () => {
    const days = calendar(ledger, 0, 4.5 * DAY);
    expect(days.map(({ known }) => known)).toEqual([1, 0.5, 0, 1, 0]);
    expect(days.map(dayLevel)).toEqual(["complete", "partly", "unavailable", "complete", "unknown"]);
    expect(days[1]?.states).toEqual({ observed: DAY / 2, unknown: DAY / 2 });
    expect(days[4]?.length).toBe(DAY / 2);
  });

  it("lists holes with their number of candles, newest first", () => {
    expect(holes(ledger, "1h", 0, 4.5 * DAY)).toEqual([
      { start: 4 * DAY, end: 4.5 * DAY, state: "unknown", candles: 12 },
      { start: 2 * DAY, end: 3 * DAY, state: "unavailable", candles: 24 },
      { start: 1.5 * DAY, end: 2 * DAY, state: "unknown", candles: 12 },
    ]);
    expect(holes([range(0, DAY, "observed")], "1h", 0, DAY)).toEqual([]);
  });

  it("finds the state at a time", () => {
    expect([DAY, 1.7 * DAY, 3.5 * DAY].map((at) => stateAt(ledger, at))).toEqual([
      "observed",
      "unknown",
      "empty",
    ]);
  });
});

it("writes CSV with the columns of the service", () => {
  const candle = {
    timestamp: 1,
    open: 2,
    high: 3,
    low: 1,
    close: 2,
    volume: 9,
    quote_volume: null,
    trades: 4,
    closed: true,
    revision: 0,
  };
  expect(candlesToCsv([candle])).toBe(
    "timestamp,open,high,low,close,volume,quote_volume,trades,closed,revision\n1,2,3,1,2,9,,4,true,0\n",
  );
});
