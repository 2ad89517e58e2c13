/** Messages of `/v1/stream`, see docs/STREAMING.md. */

import type { Candle, Ticker } from "../api/types";
import type { Interval } from "../model/interval";

export interface SequenceId {
  epoch: string;
  seq: number;
}

/** A ticker on the stream: its age depends on the time of a request, so it has none. */
export type StreamTicker = Omit<Ticker, "age_ms" | "stale">;

export interface Trade {
  exchange: string;
  symbol: string;
  id: string;
  price: number;
  amount: number;
  side: "buy" | "sell";
  timestamp: number;
  simulated: boolean;
}

export type StreamCandle = Candle & {
  exchange: string;
  symbol: string;
  interval: string;
  simulated: boolean;
};

/** The kind of data of a topic. */
export interface ChannelData {
  ticker: StreamTicker;
  trades: Trade;
  candles: StreamCandle;
}

export type Channel = keyof ChannelData;

/** A subscription to one topic. */
export interface Subscription<C extends Channel = Channel> {
  channel: C;
  exchange: string;
  symbol: string;
  /** Of candles only. */
  interval?: Interval;
  /** Number of latest values that are sent first. */
  snapshot: number;
  /** Of tickers only: minimum time between two tickers, in milliseconds. */
  conflateMs?: number;
}

export function topicOf({ channel, exchange, symbol, interval }: Subscription): string {
  const topic = `${channel}:${exchange}:${symbol}`;
  return interval ? `${topic}:${interval}` : topic;
}

/** What a subscriber receives. */
export type TopicEvent<T> =
  | { type: "snapshot"; values: T[] }
  | { type: "value"; value: T }
  /** Events were missed. `missed` is their number, if it is known. */
  | { type: "gap"; reason: string; missed: number | null }
  /** The service does not serve this topic: the code says why. */
  | { type: "rejected"; code: string };

interface DataFrame {
  type: "ticker" | "trade" | "candle";
  topic: string;
  epoch: string;
  seq: number;
  data: unknown;
}

interface SnapshotFrame {
  type: "snapshot";
  topic: string;
  epoch: string | null;
  seq: number | null;
  data: unknown[];
}

interface GapFrame {
  type: "gap";
  topic: string;
  epoch: string | null;
  from_seq: number | null;
  to_seq: number | null;
  reason: string;
}

/** The state of an exchange. */
export interface StatusFrame {
  type: "status";
  exchange: string;
  state: string;
  since: number;
  simulated: boolean;
}

export type Frame =
  | DataFrame
  | SnapshotFrame
  | GapFrame
  | StatusFrame
  | { type: "subscribed"; id: number; topics: string[]; rejected: { symbol: string; code: string }[] }
  | { type: "unsubscribed"; id: number }
  | { type: "error"; id?: number; code: string; detail: string }
  | { type: "heartbeat" }
  | { type: "pong"; timestamp: number }
  | { type: "shutdown"; in_ms: number };
