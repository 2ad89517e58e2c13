/** Search over the markets of all exchanges. */

import type { Instrument } from "../api/types";
import { baseOf } from "./market";

/** A parsed search text: names of exchanges narrow the search, the rest is part of a symbol. */
export interface SearchQuery {
  exchange: string | null;
  /** The text that symbols must contain: `BTC/USDT` for `btc usdt`. */
  text: string;
}

export function parseSearch(input: string, exchanges: readonly string[]): SearchQuery {
  const words = input
    .trim()
    .toLowerCase()
    .split(/[\s:]+/)
    .filter(Boolean);
  const exchange = words.find((word) => exchanges.includes(word)) ?? null;
  const text = words
    .filter((word) => word !== exchange)
    .join("/")
    .replace("-", "/")
    .toUpperCase();
  return { exchange, text };
}

/** Whether a market matches: shown results must match the text even while those of the service are on their way. */
export function matchesSearch({ exchange, text }: SearchQuery, instrument: Instrument): boolean {
  if (exchange !== null && instrument.exchange !== exchange) return false;
  return instrument.symbol.toUpperCase().includes(text) || instrument.native.toUpperCase().includes(text);
}

/** Sorts by relevance: the base equals the text, starts with it, contains it; collected and trading markets first. */
export function rankInstruments(
  instruments: readonly Instrument[],
  text: string,
  isCollected: (instrument: Instrument) => boolean,
): Instrument[] {
  const score = (instrument: Instrument) => {
    const base = baseOf(instrument.symbol).toUpperCase();
    let score = 0;
    if (instrument.symbol === text) score += 32;
    if (base === text) score += 16;
    else if (instrument.symbol.startsWith(text)) score += 8;
    if (isCollected(instrument)) score += 4;
    if (instrument.active) score += 2;
    if (/^USD[TC]?$/.test(instrument.quote)) score += 1;
    return score;
  };
  return instruments
    .map((instrument) => ({ instrument, score: score(instrument) }))
    .sort((a, b) => b.score - a.score || a.instrument.symbol.length - b.instrument.symbol.length)
    .map(({ instrument }) => instrument);
}
