import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Connection, type Socket, StreamClient } from "./client";
import type { Subscription, TopicEvent, Trade } from "./protocol";

class FakeSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;
  sent: Record<string, unknown>[] = [];
  isClosed = false;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.isClosed = true;
  }

  receive(...frames: object[]): void {
    for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
  }

  /** The subscribe requests of a channel. */
  requests(channel: string): Record<string, unknown>[] {
    return this.sent.filter((message) => message.op === "subscribe" && message.channel === channel);
  }
}

const trades: Subscription<"trades"> = {
  channel: "trades",
  exchange: "binance",
  symbol: "BTC/USDT",
  snapshot: 50,
};
const topic = "trades:binance:BTC/USDT";
const trade = (seq: number, epoch = "e1") => ({ type: "trade", topic, epoch, seq, data: { id: `${seq}` } });

let sockets: FakeSocket[];
let client: StreamClient;
let events: TopicEvent<Trade>[];
const collect = (event: TopicEvent<Trade>) => {
  events.push(event);
};

/** Runs pending promises and timers of the given time. */
const advance = (millis: number) => vi.advanceTimersByTimeAsync(millis);

async function open(): Promise<FakeSocket> {
  await advance(0);
  const socket = sockets.at(-1) as FakeSocket;
  socket.onopen?.();
  await advance(500);
  return socket;
}

beforeEach(() => {
  vi.useFakeTimers();
  sockets = [];
  events = [];
  const create = async () => {
    sockets.push(new FakeSocket());
    return sockets.at(-1) as FakeSocket;
  };
  client = new StreamClient({ open: create, random: () => 0 });
  client.start();
});

afterEach(() => {
  client.stop();
  vi.useRealTimers();
});

describe("subscriptions", () => {
  it("combines the topics of one task and the symbols of one channel", async () => {
    for (const symbol of ["BTC/USDT", "ETH/USDT"]) {
      client.subscribe(
        { channel: "ticker", exchange: "okx", symbol, snapshot: 1, conflateMs: 200 },
        () => {},
      );
    }
    client.subscribe(trades, collect);
    const socket = await open();
    expect(socket.requests("ticker").map(({ symbols }) => symbols)).toEqual([["BTC/USDT", "ETH/USDT"]]);
    expect(socket.requests("ticker")[0]?.conflate_ms).toBe(200);
    expect(socket.requests("trades")).toHaveLength(1);
    expect(socket.requests("status")).toHaveLength(1);
  });

  it("shares a topic and unsubscribes some time after the last listener left", async () => {
    const first = client.subscribe(trades, collect);
    const second = client.subscribe(trades, () => {});
    const socket = await open();
    expect(socket.requests("trades")).toHaveLength(1);
    first();
    second();
    const third = client.subscribe(trades, collect);
    await advance(4000);
    socket.receive({ type: "heartbeat" });
    expect(client.topicNames()).toEqual([topic]);
    third();
    await advance(3000);
    expect(client.topicNames()).toEqual([]);
    expect(socket.sent.at(-1)).toMatchObject({ op: "unsubscribe", topics: [topic] });
  });

  it("stays within the limits of the service", async () => {
    for (let at = 0; at < 30; at++) {
      client.subscribe({ ...trades, exchange: `x${at}` }, () => {});
    }
    const socket = await open();
    await advance(1000);
    expect(socket.requests("trades").length).toBeLessThanOrEqual(6);
    let answered = 0;
    while (answered < socket.sent.length) {
      for (const { id } of socket.sent.slice(answered)) {
        socket.receive({ type: "subscribed", id, topics: [], rejected: [] });
        answered++;
      }
      await advance(500);
    }
    expect(socket.requests("trades")).toHaveLength(30);
  });

  it("reports a rejection and retries it only if it may be temporary", async () => {
    client.subscribe(trades, collect);
    const socket = await open();
    const reject = (code: string) => {
      const { id } = socket.requests("trades").at(-1) as { id: number };
      socket.receive({ type: "subscribed", id, topics: [], rejected: [{ symbol: "BTC/USDT", code }] });
    };
    reject("not_ready");
    expect(events).toEqual([{ type: "rejected", code: "not_ready" }]);
    const beat = setInterval(() => socket.receive({ type: "heartbeat" }), 1000);
    await advance(5100);
    expect(socket.requests("trades")).toHaveLength(2);
    reject("unknown_symbol");
    await advance(20_000);
    clearInterval(beat);
    expect(socket.requests("trades")).toHaveLength(2);
  });
});

describe("resume", () => {
  it("resumes after the last received number and drops repeated events", async () => {
    client.subscribe(trades, collect);
    const first = await open();
    first.receive(
      { type: "snapshot", topic, epoch: "e1", seq: 7, data: [{ id: "7" }] },
      trade(8),
      trade(8),
      trade(9),
    );
    first.onclose?.();
    await advance(1000);
    const second = await open();
    expect(second).not.toBe(first);
    expect(second.requests("trades")[0]?.resume).toEqual([{ epoch: "e1", seq: 9 }]);
    second.receive(trade(9), trade(10));
    const values = events.flatMap((event) => (event.type === "value" ? [event.value.id] : []));
    expect(values).toEqual(["8", "9", "10"]);
    expect(events.filter(({ type }) => type === "gap")).toEqual([]);
  });

  it("reports gaps, and continues at the end of a gap", async () => {
    client.subscribe(trades, collect);
    const socket = await open();
    socket.receive(
      trade(1),
      { type: "gap", topic, epoch: "e1", from_seq: 2, to_seq: 5, reason: "slow_client" },
      trade(6),
    );
    socket.receive(
      { type: "gap", topic, epoch: null, from_seq: null, to_seq: null, reason: "new_epoch" },
      trade(1, "e2"),
    );
    expect(events.map((event) => (event.type === "gap" ? [event.reason, event.missed] : event.type))).toEqual(
      ["value", ["slow_client", 4], "value", ["new_epoch", null], "value"],
    );
  });

  it("does not resume tickers, whose latest value is in the snapshot", async () => {
    client.subscribe({ channel: "ticker", exchange: "okx", symbol: "A/B", snapshot: 1 }, () => {});
    const first = await open();
    first.receive({ type: "ticker", topic: "ticker:okx:A/B", epoch: "e", seq: 4, data: {} });
    first.onclose?.();
    await advance(1000);
    expect((await open()).requests("ticker")[0]?.resume).toBeUndefined();
  });
});

describe("connection", () => {
  const states = () => {
    const seen: Connection["state"][] = [client.connection.state];
    client.onConnection(() => seen.push(client.connection.state));
    return seen;
  };

  it("becomes live with the first message, stale after silence, and reconnects", async () => {
    const seen = states();
    const socket = await open();
    socket.receive({ type: "heartbeat" });
    await advance(4100);
    expect(seen).toEqual(["connecting", "live", "stale"]);
    socket.receive({ type: "heartbeat" });
    await advance(6100);
    expect(seen.slice(3)).toEqual(["live", "stale", "reconnecting"]);
    expect(socket.isClosed).toBe(true);
    await advance(1000);
    expect(sockets).toHaveLength(2);
  });

  it("doubles the pause after each failure up to 30 s, and resets it when data arrives", async () => {
    await advance(0);
    const pauses: number[] = [];
    for (let at = 0; at < 9; at++) {
      sockets.at(-1)?.onclose?.();
      const { connection } = client;
      if (connection.state !== "reconnecting") throw new Error(connection.state);
      pauses.push(connection.retryAt - Date.now());
      await advance(connection.retryAt - Date.now());
    }
    expect(pauses).toEqual([250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    const socket = await open();
    socket.receive({ type: "heartbeat" });
    socket.onclose?.();
    expect(client.connection).toMatchObject({ retryAt: Date.now() + 250 });
  });

  it("retries when no socket can be opened", async () => {
    client.stop();
    let attempts = 0;
    client = new StreamClient({
      open: () => {
        attempts++;
        return Promise.reject(new Error("no ticket"));
      },
    });
    client.start();
    await advance(3000);
    expect(attempts).toBeGreaterThan(2);
    expect(client.connection.state).toBe("reconnecting");
  });

  it("reconnects at once when the machine wakes up", async () => {
    const socket = await open();
    socket.receive({ type: "heartbeat" });
    socket.onclose?.();
    client.wake();
    await advance(0);
    expect(sockets).toHaveLength(2);
    // An attempt that never opens is replaced.
    await advance(12_000);
    expect(sockets.length).toBeGreaterThan(2);
  });

  it("learns the time of the service", async () => {
    const socket = await open();
    expect(socket.sent.map(({ op }) => op)).toContain("ping");
    socket.receive({ type: "pong", timestamp: Date.now() + 90_000 });
    expect(Math.abs(client.now() - Date.now() - 90_000)).toBeLessThan(1000);
  });

  it("ignores invalid and unknown frames", async () => {
    const socket = await open();
    socket.onmessage?.({ data: "{" });
    socket.receive(
      { type: "novelty" },
      { type: "trade", topic: "trades:x:A/B", epoch: "e", seq: 1, data: {} },
    );
    expect(client.connection.state).toBe("live");
  });
});
