import { priceDecimals } from "../model/format";
import type { StreamTicker, TopicEvent } from "./protocol";

/** The ticker of a market as it is shown. */
export interface TickerState {
  ticker: StreamTicker | null;
  /** Decimals of prices: the largest number seen, so that digits do not jump. */
  decimals: number;
  /** Direction of the last change of the price. */
  lastMove: "up" | "down" | "flat";
  /** Why there is no ticker. */
  rejected: string | null;
}

export const NO_TICKER: TickerState = { ticker: null, decimals: 0, lastMove: "flat", rejected: null };

export function reduceTicker(state: TickerState, event: TopicEvent<StreamTicker>): TickerState {
  switch (event.type) {
    case "value":
      return withTicker(state, event.value);
    case "snapshot": {
      const latest = event.values.at(-1);
      return latest ? withTicker(state, latest) : state;
    }
    case "rejected":
      return { ...state, rejected: event.code };
    case "gap":
      return state;
  }
}

function withTicker(state: TickerState, ticker: StreamTicker): TickerState {
  const before = state.ticker?.last ?? null;
  let { lastMove } = state;
  if (before !== null && ticker.last !== null && ticker.last !== before) {
    lastMove = ticker.last > before ? "up" : "down";
  }
  const decimals = Math.max(state.decimals, priceDecimals(null, [ticker.last, ticker.bid, ticker.ask]));
  return { ticker, decimals, lastMove, rejected: null };
}
