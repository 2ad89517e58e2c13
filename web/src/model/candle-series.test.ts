import { describe, expect, it } from "vitest";
import type { Candle, Gap } from "../api/types";
import { CandleSeries, MAX_GAP_POINTS } from "./candle-series";

const MINUTE = 60_000;

function candle(minute: number, changes: Partial<Candle> = {}): Candle {
  const price = 100 + minute;
  return {
    timestamp: minute * MINUTE,
    open: price,
    high: price + 1,
    low: price - 1,
    close: price,
    volume: 1,
    quote_volume: price,
    trades: 1,
    closed: true,
    revision: 0,
    ...changes,
  };
}

const candles = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => candle(from + at));
const gap = (from: number, to: number, reason = "pending"): Gap => ({
  start: from * MINUTE,
  end: to * MINUTE,
  reason,
});
const minutes = (series: CandleSeries) => series.candles.map(({ timestamp }) => timestamp / MINUTE);
const gaps = (series: CandleSeries) =>
  series.gaps.map(({ start, end, reason }) => [start / MINUTE, end / MINUTE, reason]);

function series(page: { candles?: Candle[]; gaps?: Gap[] }): CandleSeries {
  const created = new CandleSeries("1m");
  created.prepend({ candles: page.candles ?? [], gaps: page.gaps ?? [] });
  return created;
}

describe("pages", () => {
  it("prepends older pages without repeating candles, up to the limit", () => {
    const all = series({ candles: candles(19_000, 20_000) });
    for (let page = 18; page >= 0; page--) {
      all.prepend({ candles: candles(page * 1000, page * 1000 + 1001), gaps: [] });
    }
    expect(all.candles).toHaveLength(20_000);
    expect(minutes(all)).toEqual(Array.from({ length: 20_000 }, (_, at) => at));
    expect(all.isFull).toBe(true);
  });

  it("joins gaps that continue on the next page", () => {
    const all = series({ candles: candles(10, 12), gaps: [gap(5, 10)] });
    all.prepend({ candles: candles(0, 3), gaps: [gap(3, 5)] });
    expect(gaps(all)).toEqual([[3, 10, "pending"]]);
  });

  it("replaces a range: filled gaps disappear, newer live candles stay", () => {
    const all = series({ candles: [...candles(0, 3), ...candles(6, 8)], gaps: [gap(3, 6)] });
    all.merge(candle(8, { closed: false }));
    all.replace({ candles: candles(2, 8), gaps: [] }, 2 * MINUTE, 8 * MINUTE);
    expect(minutes(all)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(gaps(all)).toEqual([]);
  });

  it("keeps the parts of gaps outside of a replaced range", () => {
    const all = series({ gaps: [gap(0, 10)] });
    all.replace({ candles: candles(4, 6), gaps: [] }, 4 * MINUTE, 6 * MINUTE);
    expect(gaps(all)).toEqual([
      [0, 4, "pending"],
      [6, 10, "pending"],
    ]);
  });
});

describe("live candles", () => {
  it("updates the open candle, closes it, and appends the next", () => {
    const all = series({ candles: candles(0, 2) });
    expect(all.merge(candle(2, { closed: false, close: 5 }))).toBe("appended");
    expect(all.merge(candle(2, { closed: false, close: 6 }))).toBe("updated");
    expect(all.merge(candle(2, { close: 7 }))).toBe("updated");
    expect(all.merge(candle(3, { closed: false }))).toBe("appended");
    expect(all.candles[2]?.close).toBe(7);
  });

  it("ignores an open state after the closed one, and an older revision", () => {
    const all = series({ candles: candles(0, 2) });
    expect(all.merge(candle(1, { closed: false, close: 9 }))).toBe("ignored");
    expect(all.merge(candle(0, { revision: 2, close: 9 }))).toBe("inserted");
    expect(all.merge(candle(0, { revision: 1, close: 8 }))).toBe("ignored");
    expect(all.candles[0]?.close).toBe(9);
    expect(all.corrected()).toHaveLength(1);
  });

  it("inserts a repaired candle into its gap", () => {
    const all = series({ candles: [candle(0), candle(4)], gaps: [gap(1, 4)] });
    expect(all.merge(candle(2))).toBe("inserted");
    expect(minutes(all)).toEqual([0, 2, 4]);
    expect(gaps(all)).toEqual([
      [1, 2, "pending"],
      [3, 4, "pending"],
    ]);
    expect(all.merge(candle(-1))).toBe("ignored");
  });
});

describe("chart points", () => {
  const points = (all: CandleSeries) =>
    all.points().map(({ time, candle }) => (candle ? time / MINUTE : `-${time / MINUTE}`));

  it("has a point without data for each missing candle, but none for time without trades", () => {
    const all = series({ candles: [candle(0), candle(2), candle(5)], gaps: [gap(3, 5)] });
    expect(points(all)).toEqual([0, 2, "-3", "-4", 5]);
  });

  it("has gaps before the first and after the last candle", () => {
    expect(points(series({ candles: [candle(5)], gaps: [gap(3, 5), gap(6, 8)] }))).toEqual([
      "-3",
      "-4",
      5,
      "-6",
      "-7",
    ]);
    expect(points(series({ gaps: [gap(3, 5)] }))).toEqual(["-3", "-4"]);
  });

  it("shortens a long gap to its two ends", () => {
    const found = series({ candles: [candle(0), candle(50_000)], gaps: [gap(1, 50_000)] }).points();
    expect(found).toHaveLength(MAX_GAP_POINTS + 2);
    expect(found.at(-2)?.time).toBe(49_999 * MINUTE);
    const times = found.map(({ time }) => time);
    expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
  });
});

it("finds candles and gaps by time", () => {
  const all = series({ candles: [candle(0), candle(5)], gaps: [gap(1, 5, "unavailable")] });
  expect(all.find(5 * MINUTE)?.open).toBe(105);
  expect(all.find(4 * MINUTE)).toBeUndefined();
  expect(all.gapAt(4 * MINUTE)?.reason).toBe("unavailable");
  expect(all.gapAt(5 * MINUTE)).toBeUndefined();
});
