/** The candles and gaps of one series that the chart shows: loaded page by page, merged with live candles. */

import type { Candle, Gap } from "../api/types";
import { candlesBetween, floorTime, type Interval, nextOpen } from "./interval";

/** Candles per page of history. */
export const PAGE_SIZE = 1000;

/** Maximum number of candles that are loaded by scrolling back. Live candles may be added beyond it. */
export const MAX_CANDLES = 20_000;

/** Points without data that a gap occupies at most. A longer gap is drawn shorter, with its real length as a label. */
export const MAX_GAP_POINTS = 100;

/** The candles and gaps of a page of history. */
export interface CandlePage {
  candles: readonly Candle[];
  gaps: readonly Gap[];
}

/** A point of the chart: a candle, or a time without data. */
export type ChartPoint = { time: number; candle: Candle } | { time: number; candle: null };

export type Merge = "updated" | "appended" | "inserted" | "ignored";

export class CandleSeries {
  candles: Candle[] = [];
  gaps: Gap[] = [];

  constructor(readonly interval: Interval) {}

  /** Whether scrolling back may load more. */
  get isFull(): boolean {
    return this.candles.length >= MAX_CANDLES;
  }

  /** Adds a page before the loaded candles. */
  prepend(page: CandlePage): void {
    const first = this.candles[0]?.timestamp ?? Number.POSITIVE_INFINITY;
    this.candles = [...page.candles.filter(({ timestamp }) => timestamp < first), ...this.candles];
    this.gaps = normalize([...page.gaps, ...this.gaps]);
  }

  /** Replaces the time from `start` to `end` by a page: its gaps may be filled meanwhile, its candles corrected. */
  replace(page: CandlePage, start: number, end: number): void {
    const known = new Map(this.candles.map((candle) => [candle.timestamp, candle]));
    const fresh = page.candles.map((candle) => newer(known.get(candle.timestamp), candle));
    const received = new Set(fresh.map(({ timestamp }) => timestamp));
    // A live candle may be newer than the page.
    const others = this.candles.filter(({ timestamp }) => !received.has(timestamp));
    this.candles = [...others, ...fresh].sort((a, b) => a.timestamp - b.timestamp);
    const outside = this.gaps.flatMap((gap) => subtract(gap, start, end));
    this.gaps = normalize([...outside, ...page.gaps]);
  }

  /** Merges a live candle. */
  merge(candle: Candle): Merge {
    const last = this.candles.at(-1);
    if (!last || candle.timestamp > last.timestamp) {
      this.candles.push(candle);
      return "appended";
    }
    const at = this.indexOf(candle.timestamp);
    const existing = this.candles[at];
    if (existing?.timestamp !== candle.timestamp) {
      // An older candle than the loaded ones belongs to a page that is not loaded.
      if (at === 0) return "ignored";
      this.candles.splice(at, 0, candle);
      this.fill(candle);
      return "inserted";
    }
    if (newer(existing, candle) === existing) return "ignored";
    this.candles[at] = candle;
    return at === this.candles.length - 1 ? "updated" : "inserted";
  }

  /** The candle that opens at a time, if it is loaded. */
  find(time: number): Candle | undefined {
    const found = this.candles[this.indexOf(time)];
    return found?.timestamp === time ? found : undefined;
  }

  /** The gap that contains a time. */
  gapAt(time: number): Gap | undefined {
    return this.gaps.find((gap) => gap.start <= time && time < gap.end);
  }

  /** Closed candles that were corrected after they had been stored. */
  corrected(): Candle[] {
    return this.candles.filter(({ revision }) => revision > 0);
  }

  /** Candles and the points of gaps, ascending. */
  points(): ChartPoint[] {
    const points: ChartPoint[] = [];
    let gap = 0;
    const last = this.candles.at(-1)?.timestamp ?? Number.NEGATIVE_INFINITY;
    for (const candle of this.candles) {
      for (; gap < this.gaps.length && (this.gaps[gap] as Gap).start < candle.timestamp; gap++) {
        this.pushGap(points, this.gaps[gap] as Gap, candle.timestamp);
      }
      points.push({ time: candle.timestamp, candle });
    }
    for (; gap < this.gaps.length; gap++) {
      const { start, end } = this.gaps[gap] as Gap;
      this.pushGap(
        points,
        { ...(this.gaps[gap] as Gap), start: Math.max(start, nextOpen(this.interval, last)) },
        end,
      );
    }
    return points;
  }

  /** A short gap has a point for each missing candle; a long one has points at both ends only. */
  private pushGap(points: ChartPoint[], gap: Gap, before: number): void {
    const end = Math.min(gap.end, before);
    const missing = candlesBetween(this.interval, gap.start, end);
    const isShort = missing <= MAX_GAP_POINTS;
    const head = isShort ? missing : MAX_GAP_POINTS - 1;
    let time = gap.start;
    for (let at = 0; at < head && time < end; at++) {
      points.push({ time, candle: null });
      time = nextOpen(this.interval, time);
    }
    if (!isShort) points.push({ time: floorTime(this.interval, end - 1), candle: null });
  }

  /** Index of the first candle at or after a time. */
  private indexOf(time: number): number {
    let [low, high] = [0, this.candles.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.candles[middle] as Candle).timestamp < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Removes the time of a candle from the gaps. */
  private fill(candle: Candle): void {
    const end = nextOpen(this.interval, candle.timestamp);
    this.gaps = this.gaps.flatMap((gap) => subtract(gap, candle.timestamp, end));
  }
}

/** The newer state of a candle: the closed one, of two closed ones the one with the higher revision. */
function newer(known: Candle | undefined, candle: Candle): Candle {
  if (!known?.closed) return candle;
  return candle.closed && candle.revision >= known.revision ? candle : known;
}

/** The parts of a gap outside of a time range. */
function subtract(gap: Gap, start: number, end: number): Gap[] {
  if (gap.end <= start || gap.start >= end) return [gap];
  const parts: Gap[] = [];
  if (gap.start < start) parts.push({ ...gap, end: start });
  if (gap.end > end) parts.push({ ...gap, start: end });
  return parts;
}

/** Sorts gaps and joins adjacent ones with the same reason. */
function normalize(gaps: Gap[]): Gap[] {
  const joined: Gap[] = [];
  for (const gap of gaps.toSorted((a, b) => a.start - b.start)) {
    const last = joined.at(-1);
    if (last && last.reason === gap.reason && gap.start <= last.end) {
      joined[joined.length - 1] = { ...last, end: Math.max(last.end, gap.end) };
    } else joined.push(gap);
  }
  return joined;
}
