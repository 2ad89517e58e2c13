/**
 * One socket to `/v1/stream` for the whole page. Topics are counted by reference. After an interruption the client
 * reconnects by itself and resumes every topic at the last sequence number that it received.
 */

import {
  type Channel,
  type ChannelData,
  type Frame,
  type SequenceId,
  type StatusFrame,
  type Subscription,
  type TopicEvent,
  topicOf,
} from "./protocol";
import { RequestQueue, type SubscribeRequest, subscribeRequests } from "./requests";

/** The service sends a heartbeat every second: silence of this length means that data is stale. */
export const STALE_MS = 3000;

/** Silence after which the connection is replaced. */
export const DEAD_MS = 5000;

/** Time that a topic stays subscribed after its last listener left, so that a page change does not subscribe again. */
const LINGER_MS = 3000;

/** How often the clock of the service is asked for. */
const CLOCK_INTERVAL_MS = 60_000;

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 30_000;

/** Pauses before a rejected topic is requested again, if the rejection may be temporary. */
const RETRY_MS = 5000;
const TEMPORARY = ["not_ready", "too_many_symbols", "rate_limited", "upstream_unavailable"];

export type Connection =
  | { state: "connecting" }
  | { state: "live" }
  /** Connected, but nothing arrives. */
  | { state: "stale" }
  /** Disconnected; the next attempt is at `retryAt`. */
  | { state: "reconnecting"; retryAt: number; attempts: number };

/** The part of `WebSocket` that the client uses. */
export interface Socket {
  send(text: string): void;
  close(): void;
  onopen: (() => void) | null;
  onmessage: ((event: { data: string }) => void) | null;
  onclose: (() => void) | null;
}

export interface StreamOptions {
  /** Opens a socket; rejects if no ticket could be created. */
  open: () => Promise<Socket>;
  random?: () => number;
}

type Listener = (event: TopicEvent<unknown>) => void;

interface Topic {
  subscription: Subscription;
  listeners: Set<Listener>;
  position: SequenceId | null;
  linger: ReturnType<typeof setTimeout> | undefined;
  retry: ReturnType<typeof setTimeout> | undefined;
}

export class StreamClient {
  connection: Connection = { state: "connecting" };
  private readonly topics = new Map<string, Topic>();
  private readonly connectionListeners = new Set<() => void>();
  private readonly statusListeners = new Set<(status: StatusFrame) => void>();
  private readonly random: () => number;
  private socket: Socket | null = null;
  private requests: RequestQueue | null = null;
  /** Distinguishes the current connection from earlier ones, whose callbacks may still run. */
  private generation = 0;
  private attempts = 0;
  private lastMessageAt = 0;
  private clockOffset = 0;
  private clockAskedAt = 0;
  private flushing = false;
  private added = new Set<string>();
  private reconnectTimer: ReturnType<typeof setTimeout> | undefined;
  private watchTimer: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly options: StreamOptions) {
    this.random = options.random ?? Math.random;
  }

  start(): void {
    this.watchTimer ??= setInterval(() => this.checkSilence(), 1000);
    this.connect();
  }

  stop(): void {
    clearInterval(this.watchTimer);
    this.watchTimer = undefined;
    clearTimeout(this.reconnectTimer);
    this.drop();
  }

  /** Reconnects now, without waiting for the next attempt: the network is back, or the machine woke up. */
  wake(): void {
    if (this.connection.state === "reconnecting") this.connect();
    else this.checkSilence();
  }

  /** Subscribes to a topic until the returned function is called. */
  subscribe<C extends Channel>(
    subscription: Subscription<C>,
    listener: (event: TopicEvent<ChannelData[C]>) => void,
  ): () => void {
    const name = topicOf(subscription);
    let topic = this.topics.get(name);
    if (!topic) {
      topic = { subscription, listeners: new Set(), position: null, linger: undefined, retry: undefined };
      this.topics.set(name, topic);
      this.add(name);
    }
    clearTimeout(topic.linger);
    topic.linger = undefined;
    const own = listener as Listener;
    topic.listeners.add(own);
    return () => this.release(name, own);
  }

  onConnection(listener: () => void): () => void {
    this.connectionListeners.add(listener);
    return () => this.connectionListeners.delete(listener);
  }

  /** Receives the states of all exchanges, and every change. */
  onStatus(listener: (status: StatusFrame) => void): () => void {
    this.statusListeners.add(listener);
    return () => this.statusListeners.delete(listener);
  }

  /** The time of the service: the clock of this machine may be wrong. */
  now(): number {
    return Date.now() + this.clockOffset;
  }

  /** Names of the topics that are subscribed to or will be. */
  topicNames(): string[] {
    return [...this.topics.keys()];
  }

  private release(name: string, listener: Listener): void {
    const topic = this.topics.get(name);
    if (!topic?.listeners.delete(listener) || topic.listeners.size > 0) return;
    topic.linger = setTimeout(() => {
      clearTimeout(topic.retry);
      this.topics.delete(name);
      this.added.delete(name);
      const message = { op: "unsubscribe", topics: [name] };
      this.requests?.push([{ message, subscriptions: [] }]);
    }, LINGER_MS);
  }

  /** Subscribes to the topics of this task together. */
  private add(name: string): void {
    this.added.add(name);
    if (this.flushing) return;
    this.flushing = true;
    queueMicrotask(() => {
      this.flushing = false;
      this.request(this.added);
      this.added.clear();
    });
  }

  private request(names: Iterable<string>): void {
    if (!this.requests) return;
    const wanted = [...names].flatMap((name) => {
      const topic = this.topics.get(name);
      if (!topic) return [];
      // Of tickers only the latest counts, which the snapshot contains.
      const resume = topic.subscription.channel === "ticker" ? null : topic.position;
      return [{ subscription: topic.subscription, resume }];
    });
    this.requests.push(subscribeRequests(wanted));
  }

  private async connect(): Promise<void> {
    clearTimeout(this.reconnectTimer);
    this.drop();
    const generation = ++this.generation;
    const isCurrent = () => generation === this.generation;
    if (this.connection.state !== "reconnecting") this.setConnection({ state: "connecting" });
    this.lastMessageAt = Date.now();
    let socket: Socket;
    try {
      socket = await this.options.open();
    } catch {
      if (isCurrent()) this.reconnectLater();
      return;
    }
    if (!isCurrent()) {
      socket.close();
      return;
    }
    this.socket = socket;
    socket.onopen = () => {
      if (!isCurrent()) return;
      this.lastMessageAt = Date.now();
      this.requests = new RequestQueue((text) => socket.send(text));
      this.requests.push([{ message: { op: "subscribe", channel: "status" }, subscriptions: [] }]);
      this.askClock();
      this.added.clear();
      this.request(this.topics.keys());
    };
    socket.onmessage = ({ data }) => {
      if (isCurrent()) this.receive(data);
    };
    socket.onclose = () => {
      if (isCurrent()) this.reconnectLater();
    };
  }

  /** Closes the socket without a reconnect. */
  private drop(): void {
    this.generation++;
    this.requests?.close();
    this.requests = null;
    this.socket?.close();
    this.socket = null;
  }

  private reconnectLater(): void {
    this.drop();
    // Half of the delay is random, so that the clients of a restarted service do not return together.
    const delay = Math.min(FIRST_DELAY_MS * 2 ** this.attempts, MAX_DELAY_MS) * (0.5 + this.random() / 2);
    this.attempts++;
    this.setConnection({ state: "reconnecting", retryAt: Date.now() + delay, attempts: this.attempts });
    clearTimeout(this.reconnectTimer);
    this.reconnectTimer = setTimeout(() => this.connect(), delay);
  }

  private askClock(): void {
    this.clockAskedAt = Date.now();
    this.requests?.push([{ message: { op: "ping" }, subscriptions: [] }]);
  }

  private checkSilence(): void {
    if (this.connection.state === "reconnecting") {
      // An attempt that neither opens nor fails must not last forever.
      if (this.socket && Date.now() - this.lastMessageAt > 2 * DEAD_MS) this.reconnectLater();
      return;
    }
    if (Date.now() - this.clockAskedAt > CLOCK_INTERVAL_MS) this.askClock();
    const silence = Date.now() - this.lastMessageAt;
    if (silence > DEAD_MS) this.reconnectLater();
    else if (silence > STALE_MS && this.connection.state === "live") this.setConnection({ state: "stale" });
  }

  private receive(text: string): void {
    this.lastMessageAt = Date.now();
    this.attempts = 0;
    if (this.connection.state !== "live") this.setConnection({ state: "live" });
    let frame: Frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    switch (frame.type) {
      case "ticker":
      case "trade":
      case "candle":
        this.receiveValue(frame);
        break;
      case "snapshot": {
        const topic = this.topics.get(frame.topic);
        if (!topic) break;
        if (frame.epoch !== null && frame.seq !== null)
          topic.position = { epoch: frame.epoch, seq: frame.seq };
        this.emit(topic, { type: "snapshot", values: frame.data });
        break;
      }
      case "gap": {
        const topic = this.topics.get(frame.topic);
        if (!topic) break;
        const { epoch, from_seq: from, to_seq: to } = frame;
        if (epoch !== null && to !== null) topic.position = { epoch, seq: to };
        const missed = from !== null && to !== null ? to - from + 1 : null;
        this.emit(topic, { type: "gap", reason: frame.reason, missed });
        break;
      }
      case "pong":
        // The reply was written about halfway between the request and its receipt.
        this.clockOffset = frame.timestamp - (this.clockAskedAt + Date.now()) / 2;
        break;
      case "status":
        for (const listener of this.statusListeners) listener(frame);
        break;
      case "subscribed": {
        const request = this.requests?.answered(frame.id);
        if (request) for (const { symbol, code } of frame.rejected) this.reject(request, code, symbol);
        break;
      }
      case "error": {
        const request = frame.id === undefined ? undefined : this.requests?.answered(frame.id);
        if (request) this.reject(request, frame.code);
        break;
      }
    }
  }

  private receiveValue({
    topic: name,
    epoch,
    seq,
    data,
  }: Extract<Frame, { seq: number; data: unknown }>): void {
    const topic = this.topics.get(name);
    if (!topic) return;
    const last = topic.position;
    if (last?.epoch === epoch) {
      if (seq <= last.seq) return;
      // Tickers may skip numbers. For other topics the service reports a gap, so this is only a safeguard.
      if (seq > last.seq + 1 && topic.subscription.channel !== "ticker") {
        this.emit(topic, { type: "gap", reason: "unknown", missed: seq - last.seq - 1 });
      }
    }
    topic.position = { epoch, seq };
    this.emit(topic, { type: "value", value: data });
  }

  /** Reports a rejection of one symbol of a request, or of all, and requests it again if it may be temporary. */
  private reject(request: SubscribeRequest, code: string, symbol?: string): void {
    for (const subscription of request.subscriptions) {
      if (symbol !== undefined && subscription.symbol !== symbol) continue;
      const name = topicOf(subscription);
      const topic = this.topics.get(name);
      if (!topic) continue;
      this.emit(topic, { type: "rejected", code });
      if (!TEMPORARY.includes(code)) continue;
      clearTimeout(topic.retry);
      topic.retry = setTimeout(() => this.request([name]), RETRY_MS);
    }
  }

  private emit(topic: Topic, event: TopicEvent<unknown>): void {
    for (const listener of [...topic.listeners]) listener(event);
  }

  private setConnection(connection: Connection): void {
    this.connection = connection;
    for (const listener of [...this.connectionListeners]) listener();
  }
}
