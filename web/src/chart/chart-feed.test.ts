import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError } from "../api/client";
import type { Candle, Gap, History } from "../api/types";
import type { Interval } from "../model/interval";
import type { StreamCandle, Subscription, TopicEvent } from "../stream/protocol";
import { ChartFeed, type HistoryParams } from "./chart-feed";

const MINUTE = 60_000;
const NOW = Date.UTC(2026, 10, 21, 14, 30);

const candle = (timestamp: number, changes: Partial<Candle> = {}): Candle => ({
  timestamp,
  open: 10,
  high: 12,
  low: 9,
  close: 11,
  volume: 1,
  quote_volume: 10,
  trades: 1,
  closed: true,
  revision: 0,
  ...changes,
});

const range = (start: number, end: number, step = MINUTE) =>
  Array.from({ length: (end - start) / step }, (_, at) => candle(start + at * step));

type Listener = (event: TopicEvent<StreamCandle>) => void;

let requests: HistoryParams[];
let respond: (params: HistoryParams) => Partial<History>;
let listeners: Map<string, Listener>;
let feed: ChartFeed;
/** The time of the service. */
let now: () => number;

function start(interval: Interval): void {
  const stream = {
    now: () => now(),
    subscribe: (subscription: Subscription, listener: unknown) => {
      listeners.set(subscription.interval ?? "", listener as Listener);
      return () => listeners.delete(subscription.interval ?? "");
    },
  };
  const fetchHistory = async (params: HistoryParams) => {
    requests.push(params);
    const page = respond(params);
    return {
      candles: [],
      gaps: [],
      complete: true,
      next_cursor: null,
      simulated: false,
      ...page,
    } as unknown as History;
  };
  feed = new ChartFeed({ market: { exchange: "x", symbol: "A/B" }, interval, stream, fetchHistory });
  feed.start();
}

const send = (interval: string, value: Candle) =>
  listeners.get(interval)?.({ type: "value", value: value as StreamCandle });
const advance = (millis: number) => vi.advanceTimersByTimeAsync(millis);
const last = () => feed.series.candles.at(-1);

beforeEach(() => {
  vi.useFakeTimers();
  requests = [];
  listeners = new Map();
  respond = () => ({});
  now = () => NOW;
});

afterEach(() => {
  feed.close();
  vi.useRealTimers();
});

describe("pages", () => {
  it("scrolls back with the cursor until the start", async () => {
    respond = ({ cursor }) =>
      cursor === "older"
        ? { candles: range(NOW - 20 * MINUTE, NOW - 10 * MINUTE), next_cursor: null }
        : { candles: range(NOW - 10 * MINUTE, NOW), next_cursor: "older" };
    start("1m");
    await advance(0);
    await Promise.all([feed.loadOlder(), feed.loadOlder()]);
    await feed.loadOlder();
    expect(requests.map(({ cursor }) => cursor)).toEqual([undefined, "older"]);
    expect(feed.series.candles).toHaveLength(20);
    expect(feed.isAtStart).toBe(true);
  });

  it("keeps live candles that arrive during the first request", async () => {
    respond = () => ({ candles: range(NOW - 3 * MINUTE, NOW) });
    start("1m");
    send("1m", candle(NOW, { closed: false, close: 77 }));
    await advance(0);
    expect(last()?.close).toBe(77);
  });

  it("says what failed, and retries only what may succeed later", async () => {
    respond = () => {
      throw new ApiError("store_unavailable", 503, "the store does not answer", 1000);
    };
    start("1m");
    await advance(0);
    expect(feed).toMatchObject({ phase: "failed", error: { code: "store_unavailable" } });
    respond = () => ({ candles: range(NOW - MINUTE, NOW) });
    await advance(1000);
    expect(feed.phase).toBe("ready");
    feed.close();
    respond = () => {
      throw new ApiError("unknown_symbol", 404, "not listed");
    };
    requests = [];
    start("1m");
    await advance(60_000);
    expect(requests).toHaveLength(1);
  });
});

describe("gaps", () => {
  const gap = (reason: string): Gap => ({ start: NOW - 5 * MINUTE, end: NOW - 3 * MINUTE, reason });

  it("requests a gap that is being fetched again until it is filled", async () => {
    let isFilled = false;
    const around = [...range(NOW - 10 * MINUTE, NOW - 5 * MINUTE), ...range(NOW - 3 * MINUTE, NOW)];
    respond = ({ start }) => {
      if (start === undefined) return { candles: around, gaps: [gap("pending")] };
      return isFilled
        ? { candles: range(start, NOW - 3 * MINUTE) }
        : { gaps: [gap("pending")], complete: false };
    };
    start("1m");
    await advance(10_000);
    expect(feed.series.gaps).toHaveLength(1);
    isFilled = true;
    await advance(30_000);
    expect(feed.series.gaps).toEqual([]);
    expect(feed.series.candles).toHaveLength(10);
    const count = requests.length;
    await advance(120_000);
    expect(requests).toHaveLength(count);
  });

  it("does not request what the exchange does not provide", async () => {
    respond = () => ({ candles: range(NOW - MINUTE, NOW), gaps: [gap("unavailable")] });
    start("1m");
    await advance(120_000);
    expect(requests).toHaveLength(1);
  });

  it("catches up after a gap on the stream, from the last closed candle", async () => {
    respond = ({ start }) => ({
      candles: start ? range(start, NOW) : range(NOW - 10 * MINUTE, NOW - 5 * MINUTE),
    });
    start("1m");
    await advance(0);
    listeners.get("1m")?.({ type: "gap", reason: "resume_expired", missed: null });
    await advance(1000);
    expect(requests.at(-1)?.start).toBe(NOW - 6 * MINUTE);
    expect(feed.series.candles).toHaveLength(10);
  });

  it("shows the time of an outage as a gap, and fills it afterwards", async () => {
    vi.setSystemTime(NOW);
    now = () => Date.now();
    let isDown = true;
    respond = ({ start }) => {
      if (start === undefined) return { candles: range(NOW - 10 * MINUTE, NOW) };
      const end = Math.floor(Date.now() / MINUTE) * MINUTE;
      if (!isDown) return { candles: range(start, end) };
      return { candles: range(start, NOW), gaps: [{ start: NOW, end, reason: "offline" }], complete: false };
    };
    start("1m");
    await advance(121_000);
    expect(feed.series.gaps).toMatchObject([{ start: NOW, reason: "offline" }]);
    isDown = false;
    await advance(180_000);
    expect(feed.series.gaps).toEqual([]);
    expect(feed.series.candles.length).toBeGreaterThan(12);
  });

  it("catches up when a candle does not follow the last one", async () => {
    respond = ({ start }) => ({
      candles: start ? range(start, NOW) : range(NOW - 10 * MINUTE, NOW - 5 * MINUTE),
    });
    start("1m");
    await advance(0);
    send("1m", candle(NOW, { closed: false }));
    await advance(1000);
    expect(feed.series.candles).toHaveLength(11);
  });
});

describe("open candle of a longer interval", () => {
  const hour = Date.UTC(2026, 10, 21, 14);

  it("is computed from its minutes", async () => {
    respond = ({ interval, start }) => {
      if (interval === "1m") return { candles: range(start as number, NOW) };
      return { candles: range(hour - 5 * 60 * MINUTE, hour, 60 * MINUTE) };
    };
    start("1h");
    await advance(0);
    send("1m", candle(NOW, { closed: false, high: 99, close: 42 }));
    await advance(0);
    expect(requests.find(({ interval }) => interval === "1m")?.start).toBe(hour);
    expect(last()).toMatchObject({
      timestamp: hour,
      open: 10,
      high: 99,
      close: 42,
      volume: 31,
      closed: false,
    });
    send("1m", candle(NOW, { closed: false, high: 99, close: 43 }));
    expect(last()?.close).toBe(43);
  });

  it("begins anew with the next hour", async () => {
    respond = ({ interval, start, end }) => {
      if (interval === "1m") return { candles: range(start as number, Math.min(end ?? NOW, NOW)) };
      return { candles: range(hour - 2 * 60 * MINUTE, hour, 60 * MINUTE) };
    };
    start("1h");
    await advance(0);
    send("1m", candle(NOW));
    await advance(0);
    const next = hour + 60 * MINUTE;
    respond = () => ({ candles: [] });
    send("1m", candle(next, { closed: false, close: 5, low: 5 }));
    await advance(0);
    expect(last()).toMatchObject({ timestamp: next, close: 5, low: 5, volume: 1 });
  });

  it("is not shown while minutes are missing", async () => {
    respond = ({ interval }) => {
      if (interval === "1m") return { complete: false };
      return { candles: range(hour - 60 * MINUTE, hour, 60 * MINUTE) };
    };
    start("1h");
    await advance(0);
    send("1m", candle(NOW, { closed: false }));
    await advance(0);
    expect(last()?.timestamp).toBe(hour - 60 * MINUTE);
    respond = ({ start }) => ({ candles: range(start as number, NOW) });
    await advance(3000);
    expect(last()?.timestamp).toBe(hour);
  });
});
