/** The coverage ledger of a series as a calendar: which part of each day is known. */

import type { CoveredRange } from "../api/types";
import { candlesBetween, DAY, type Interval } from "./interval";

/** A coverage state, or `unknown` for time that the ledger does not contain. */
export type CoverageState =
  | "observed"
  | "fetched"
  | "derived"
  | "empty"
  | "unavailable"
  | "invalid"
  | "off_grid"
  | "unknown";

/** States of time whose candles are known. */
const KNOWN: readonly string[] = ["observed", "fetched", "derived", "empty"];

export function isKnown(state: string): boolean {
  return KNOWN.includes(state);
}

/** The coverage of one UTC day. */
export interface Day {
  start: number;
  /** Milliseconds of the day in the range that is shown: fewer than a day at both ends. */
  length: number;
  /** Milliseconds in each state. */
  states: Partial<Record<CoverageState, number>>;
  /** Known part, from 0 to 1. */
  known: number;
}

/** A range without candles: unknown, or not provided by the exchange. */
export interface Hole {
  start: number;
  end: number;
  state: CoverageState;
  candles: number;
}

/** Adds `unknown` ranges, so that the whole of `start` to `end` is covered. */
export function withUnknown(ranges: readonly CoveredRange[], start: number, end: number): CoveredRange[] {
  const all: CoveredRange[] = [];
  let at = start;
  for (const range of ranges) {
    const [from, to] = [Math.max(range.start, start), Math.min(range.end, end)];
    if (from >= to) continue;
    if (from > at) all.push({ start: at, end: from, state: "unknown" });
    all.push({ start: from, end: to, state: range.state });
    at = to;
  }
  if (at < end) all.push({ start: at, end, state: "unknown" });
  return all;
}

/** The coverage of each UTC day from `start` to `end`. */
export function calendar(ranges: readonly CoveredRange[], start: number, end: number): Day[] {
  const days: Day[] = [];
  const all = withUnknown(ranges, start, end);
  let at = 0;
  for (let day = Math.floor(start / DAY) * DAY; day < end; day += DAY) {
    const [from, to] = [Math.max(day, start), Math.min(day + DAY, end)];
    const states: Partial<Record<CoverageState, number>> = {};
    let known = 0;
    while (at < all.length && (all[at] as CoveredRange).end <= from) at++;
    for (let next = at; next < all.length && (all[next] as CoveredRange).start < to; next++) {
      const range = all[next] as CoveredRange;
      const part = Math.min(range.end, to) - Math.max(range.start, from);
      const state = range.state as CoverageState;
      states[state] = (states[state] ?? 0) + part;
      if (isKnown(state)) known += part;
    }
    days.push({ start: day, length: to - from, states, known: known / (to - from) });
  }
  return days;
}

/** How a day is drawn. */
export type Level = "complete" | "mostly" | "partly" | "unknown" | "unavailable";

export function dayLevel(day: Day): Level {
  if (day.known >= 1) return "complete";
  const refused = (day.states.unavailable ?? 0) + (day.states.invalid ?? 0) + (day.states.off_grid ?? 0);
  if (refused > 0 && refused >= day.length * (1 - day.known) - 1)
    return day.known >= 0.5 ? "mostly" : "unavailable";
  if (day.known >= 0.9) return "mostly";
  return day.known > 0 ? "partly" : "unknown";
}

/** The holes of a range, newest first. */
export function holes(
  ranges: readonly CoveredRange[],
  interval: Interval,
  start: number,
  end: number,
): Hole[] {
  return withUnknown(ranges, start, end)
    .filter(({ state }) => !isKnown(state))
    .map(({ start, end, state }) => {
      return { start, end, state: state as CoverageState, candles: candlesBetween(interval, start, end) };
    })
    .filter(({ candles }) => candles > 0)
    .reverse();
}

/** The state at a time. */
export function stateAt(ranges: readonly CoveredRange[], time: number): CoverageState {
  const found = ranges.find((range) => range.start <= time && time < range.end);
  return (found?.state as CoverageState | undefined) ?? "unknown";
}
