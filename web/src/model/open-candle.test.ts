import { describe, expect, it } from "vitest";
import type { Candle } from "../api/types";
import { OpenCandle } from "./open-candle";

const part = (timestamp: number, changes: Partial<Candle> = {}): Candle => ({
  timestamp,
  open: 10,
  high: 12,
  low: 9,
  close: 11,
  volume: 0.1,
  quote_volume: 1.1,
  trades: 3,
  closed: true,
  revision: 0,
  ...changes,
});

describe("open candle", () => {
  const hour = Date.UTC(2026, 10, 21, 14);
  const minute = 60_000;

  it("aggregates its minutes; a new state of a minute replaces the former", () => {
    const candle = new OpenCandle("1h", hour, [], [part(hour), part(hour + minute, { high: 20, close: 15 })]);
    candle.add(part(hour + 2 * minute, { closed: false, low: 5, close: 6 }));
    candle.add(part(hour + 2 * minute, { closed: false, low: 4, close: 7 }));
    expect(candle.candle()).toEqual({
      timestamp: hour,
      open: 10,
      high: 20,
      low: 4,
      close: 7,
      volume: 0.3,
      quote_volume: 3.3,
      trades: 9,
      closed: false,
      revision: 0,
    });
  });

  it("ignores an open state of a closed minute, and knows its minutes", () => {
    const candle = new OpenCandle("1h", hour, [], [part(hour)]);
    candle.add(part(hour, { closed: false, close: 99 }));
    expect(candle.candle()?.close).toBe(11);
    expect(candle.contains(part(hour + 59 * minute))).toBe(true);
    expect(candle.contains(part(hour + 60 * minute))).toBe(false);
  });

  it("consists of closed days and the minutes of the current day if it is longer than a day", () => {
    const monday = Date.UTC(2026, 10, 16);
    const day = 86_400_000;
    const now = monday + 2 * day + minute;
    expect(OpenCandle.minutesStart("1w", now)).toBe(monday + 2 * day);
    expect(OpenCandle.minutesStart("4h", now)).toBe(monday + 2 * day);
    const days = [part(monday, { open: 1 }), part(monday + day, { high: 30 })];
    const candle = new OpenCandle("1w", monday, days, [part(monday + 2 * day, { close: 8 })]);
    expect(candle.candle()).toMatchObject({ timestamp: monday, open: 1, high: 30, close: 8, volume: 0.3 });
    expect(candle.contains(part(monday + 2 * day + minute))).toBe(true);
    expect(candle.contains(part(monday + day))).toBe(false);
  });

  it("is null without trades, and unknown sums stay unknown", () => {
    expect(new OpenCandle("1h", hour, [], []).candle()).toBeNull();
    const candle = new OpenCandle("1h", hour, [], [part(hour), part(hour + minute, { trades: null })]);
    expect(candle.candle()?.trades).toBeNull();
  });
});
