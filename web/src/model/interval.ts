const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** 1970-01-05, the first Monday of the epoch: weeks start on Monday. */
const FIRST_MONDAY = 4 * DAY;

/** Candle intervals and their lengths in milliseconds; of a month the longest. */
const LENGTHS = {
  "1m": MINUTE,
  "3m": 3 * MINUTE,
  "5m": 5 * MINUTE,
  "15m": 15 * MINUTE,
  "30m": 30 * MINUTE,
  "1h": HOUR,
  "2h": 2 * HOUR,
  "4h": 4 * HOUR,
  "6h": 6 * HOUR,
  "8h": 8 * HOUR,
  "12h": 12 * HOUR,
  "1d": DAY,
  "3d": 3 * DAY,
  "1w": 7 * DAY,
  "1M": 31 * DAY,
} as const;

export type Interval = keyof typeof LENGTHS;

export const INTERVALS = Object.keys(LENGTHS) as Interval[];

export function isInterval(text: string): text is Interval {
  return Object.hasOwn(LENGTHS, text);
}

/** Length in milliseconds. For a month: 31 days, the maximum. */
export function intervalLength(interval: Interval): number {
  return LENGTHS[interval];
}

/** Open time of the candle that contains `at`. */
export function floorTime(interval: Interval, at: number): number {
  if (interval === "1M") {
    const date = new Date(at);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1);
  }
  const origin = interval === "1w" ? FIRST_MONDAY : 0;
  const length = LENGTHS[interval];
  return Math.floor((at - origin) / length) * length + origin;
}

/** Open time of the candle after the one that contains `at`. */
export function nextOpen(interval: Interval, at: number): number {
  if (interval === "1M") {
    const date = new Date(at);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1);
  }
  return floorTime(interval, at) + LENGTHS[interval];
}

/** Number of candles between two open times. */
export function candlesBetween(interval: Interval, start: number, end: number): number {
  if (end <= start) return 0;
  if (interval === "1M") {
    const [from, to] = [new Date(start), new Date(end)];
    return (to.getUTCFullYear() - from.getUTCFullYear()) * 12 + to.getUTCMonth() - from.getUTCMonth();
  }
  return Math.round((end - start) / LENGTHS[interval]);
}
