/** The stream of the page, and its stores. */

import { useSyncExternalStore } from "react";
import { onKeyChange } from "../api/client";
import { type Market, marketId } from "../model/market";
import { type Connection, StreamClient } from "./client";
import { openSocket } from "./open-socket";
import { PAINT_INTERVAL_MS, Painter } from "./painter";
import { EMPTY_TAPE, reduceTape, type Tape } from "./tape";
import { NO_TICKER, reduceTicker, type TickerState } from "./ticker-store";
import { TopicStore } from "./topic-store";

export const stream = new StreamClient({ open: openSocket });
export const painter = new Painter();

/** Stores of markets that are shown or were shown: bounded by what a user visits, a few hundred bytes each. */
const tickers = new Map<string, TopicStore<"ticker", TickerState>>();

export function tickerStore(market: Market): TopicStore<"ticker", TickerState> {
  const id = marketId(market);
  let store = tickers.get(id);
  if (!store) {
    const subscription = {
      channel: "ticker",
      ...market,
      snapshot: 1,
      conflateMs: PAINT_INTERVAL_MS,
    } as const;
    store = new TopicStore(stream, painter, subscription, NO_TICKER, reduceTicker);
    tickers.set(id, store);
  }
  return store;
}

export function useTicker(market: Market): TickerState {
  const store = tickerStore(market);
  return useSyncExternalStore(store.subscribe, store.get);
}

export function tapeStore(market: Market): TopicStore<"trades", Tape> {
  const subscription = { channel: "trades", ...market, snapshot: 100 } as const;
  return new TopicStore(stream, painter, subscription, EMPTY_TAPE, reduceTape);
}

const subscribeConnection = (listener: () => void) => stream.onConnection(listener);

export function useConnection(): Connection {
  return useSyncExternalStore(subscribeConnection, () => stream.connection);
}

/** Starts the stream, and wakes it when the machine or the network comes back. */
export function startStream(): void {
  stream.start();
  const wake = () => {
    if (document.visibilityState === "visible") stream.wake();
  };
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", wake);
  // The new key may have other scopes.
  onKeyChange(() => {
    stream.stop();
    stream.start();
  });
}
