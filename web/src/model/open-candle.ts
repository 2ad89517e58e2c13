/**
 * The open candle of an interval longer than a minute. The stream sends such candles only when they close, so the open
 * one is computed from its parts: closed days of a candle longer than a day, and minutes.
 */

import type { Candle } from "../api/types";
import { DAY, floorTime, type Interval, intervalLength } from "./interval";

export class OpenCandle {
  private readonly days: readonly Candle[];
  private readonly minutes: Map<number, Candle>;

  /**
   * `openTime` is the open time of the candle. `days` are its closed days before `minutesStart`, `minutes` are all its
   * minutes since then.
   */
  constructor(
    readonly interval: Interval,
    readonly openTime: number,
    days: readonly Candle[],
    minutes: readonly Candle[],
  ) {
    this.days = days;
    this.minutes = new Map(minutes.map((minute) => [minute.timestamp, minute]));
  }

  /** Start of the minutes that a candle consists of: of a candle longer than a day only the current day's. */
  static minutesStart(interval: Interval, now: number): number {
    return intervalLength(interval) > DAY ? floorTime("1d", now) : floorTime(interval, now);
  }

  /** Whether a minute belongs to the parts of this candle. Otherwise another candle, or another day, has begun. */
  contains(minute: Candle): boolean {
    return (
      floorTime(this.interval, minute.timestamp) === this.openTime &&
      (this.days.length === 0 || minute.timestamp >= (this.days.at(-1) as Candle).timestamp + DAY)
    );
  }

  /** Adds a minute, or a new state of one. */
  add(minute: Candle): void {
    const known = this.minutes.get(minute.timestamp);
    if (known?.closed && (!minute.closed || minute.revision < known.revision)) return;
    this.minutes.set(minute.timestamp, minute);
  }

  /** The candle; null if there were no trades. */
  candle(): Candle | null {
    const minutes = [...this.minutes.values()].sort((a, b) => a.timestamp - b.timestamp);
    const parts = [...this.days, ...minutes];
    const [first, last] = [parts[0], parts.at(-1)];
    if (!first || !last) return null;
    return {
      timestamp: this.openTime,
      open: first.open,
      high: Math.max(...parts.map(({ high }) => high)),
      low: Math.min(...parts.map(({ low }) => low)),
      close: last.close,
      volume: exactSum(parts.map(({ volume }) => volume)),
      quote_volume: nullableSum(parts.map(({ quote_volume }) => quote_volume)),
      trades: nullableSum(parts.map(({ trades }) => trades)),
      closed: false,
      revision: 0,
    };
  }
}

/** A sum rounded to the 15 digits that a double holds, without the noise of binary fractions. */
function exactSum(values: number[]): number {
  return Number(values.reduce((sum, value) => sum + value, 0).toPrecision(15));
}

function nullableSum(values: (number | null)[]): number | null {
  return values.includes(null) ? null : exactSum(values as number[]);
}
