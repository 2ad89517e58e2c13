import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { StreamClient } from "./client";
import { PAINT_INTERVAL_MS, Painter } from "./painter";
import type { StreamTicker, TopicEvent, Trade } from "./protocol";
import { EMPTY_TAPE, reduceTape, TAPE_LENGTH } from "./tape";
import { NO_TICKER, reduceTicker } from "./ticker-store";
import { TopicStore } from "./topic-store";

const ticker = (last: number): StreamTicker => ({ last, bid: last, ask: last }) as StreamTicker;
const trade = (id: number): Trade => ({ id: `${id}` }) as Trade;

describe("topic store", () => {
  let listener: (event: TopicEvent<StreamTicker>) => void;
  let subscriptions = 0;
  const stream = {
    subscribe: (_: unknown, added: typeof listener) => {
      subscriptions++;
      listener = added;
      return () => void subscriptions--;
    },
  } as unknown as StreamClient;

  beforeEach(() => {
    vi.useFakeTimers();
    subscriptions = 0;
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const create = () => {
    const subscription = { channel: "ticker", exchange: "x", symbol: "A/B", snapshot: 1 } as const;
    return new TopicStore(stream, new Painter(), subscription, NO_TICKER, reduceTicker);
  };

  it("paints at most five times per second, with the latest value", () => {
    const store = create();
    const painted: (number | null | undefined)[] = [];
    store.subscribe(() => painted.push(store.get().ticker?.last));
    for (let at = 0; at < 1000; at++) {
      listener({ type: "value", value: ticker(at) });
      vi.advanceTimersByTime(2);
    }
    vi.advanceTimersByTime(PAINT_INTERVAL_MS);
    expect(painted.length).toBeGreaterThan(8);
    expect(painted.length).toBeLessThanOrEqual(2000 / PAINT_INTERVAL_MS + 2);
    expect(painted.at(-1)).toBe(999);
  });

  it("subscribes while it has listeners, and keeps its last value", () => {
    const store = create();
    const [first, second] = [store.subscribe(() => {}), store.subscribe(() => {})];
    expect(subscriptions).toBe(1);
    listener({ type: "value", value: ticker(7) });
    first();
    second();
    expect(subscriptions).toBe(0);
    expect(store.get().ticker?.last).toBe(7);
  });
});

describe("ticker state", () => {
  it("keeps the decimals and the direction of the last move", () => {
    let state = reduceTicker(NO_TICKER, { type: "snapshot", values: [ticker(1.25)] });
    state = reduceTicker(state, { type: "value", value: ticker(2) });
    expect(state).toMatchObject({ decimals: 2, lastMove: "up" });
    state = reduceTicker(state, { type: "value", value: ticker(2) });
    expect(state.lastMove).toBe("up");
    state = reduceTicker(state, { type: "rejected", code: "unknown_symbol" });
    expect(state.rejected).toBe("unknown_symbol");
  });
});

describe("trade tape", () => {
  it("is newest first, bounded, and shows where trades are missing", () => {
    let tape = reduceTape(EMPTY_TAPE, { type: "snapshot", values: [trade(1), trade(2)] });
    tape = reduceTape(tape, { type: "gap", reason: "slow_client", missed: 3 });
    tape = reduceTape(tape, { type: "gap", reason: "slow_client", missed: 3 });
    tape = reduceTape(tape, { type: "value", value: trade(6) });
    expect(tape.rows.map((row) => ("trade" in row ? row.trade.id : row.gap.missed))).toEqual([
      "6",
      3,
      "2",
      "1",
    ]);
    for (let at = 0; at < 500; at++) tape = reduceTape(tape, { type: "value", value: trade(at + 10) });
    expect(tape.rows).toHaveLength(TAPE_LENGTH);
  });
});
