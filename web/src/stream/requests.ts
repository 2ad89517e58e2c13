/** Requests to the stream, within its limits: messages per second, and unanswered subscribe requests. */

import type { SequenceId, Subscription } from "./protocol";

/** The service accepts 20 messages per second. */
const MIN_PAUSE_MS = 60;

/** The service resolves 8 subscribe requests of a client at a time. */
const MAX_UNANSWERED = 6;

/** Maximum number of symbols per request: a message has at most 64 KiB. */
const MAX_SYMBOLS = 200;

export interface Wanted {
  subscription: Subscription;
  resume: SequenceId | null;
}

/** A subscribe request, and the topics that it is for, in the order of its symbols. */
export interface SubscribeRequest {
  message: Record<string, unknown>;
  subscriptions: Subscription[];
}

/** Combines subscriptions that differ only in their symbols into one request. */
export function subscribeRequests(wanted: Wanted[]): SubscribeRequest[] {
  const groups = new Map<string, Wanted[]>();
  for (const one of wanted) {
    const { channel, exchange, interval, snapshot, conflateMs } = one.subscription;
    const key = [channel, exchange, interval, snapshot, conflateMs].join();
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const requests: SubscribeRequest[] = [];
  for (const group of groups.values()) {
    for (let at = 0; at < group.length; at += MAX_SYMBOLS) {
      const part = group.slice(at, at + MAX_SYMBOLS);
      const { channel, exchange, interval, snapshot, conflateMs } = (part[0] as Wanted).subscription;
      const message: Record<string, unknown> = { op: "subscribe", channel, exchange, snapshot };
      message.symbols = part.map(({ subscription }) => subscription.symbol);
      if (interval) message.interval = interval;
      if (conflateMs) message.conflate_ms = conflateMs;
      if (part.some(({ resume }) => resume)) message.resume = part.map(({ resume }) => resume);
      requests.push({ message, subscriptions: part.map(({ subscription }) => subscription) });
    }
  }
  return requests;
}

/** Sends requests in order, and pauses where the service would reject them. */
export class RequestQueue {
  private waiting: SubscribeRequest[] = [];
  private unanswered = new Map<number, SubscribeRequest>();
  private nextId = 1;
  private nextSendAt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly send: (text: string) => void) {}

  push(requests: SubscribeRequest[]): void {
    this.waiting.push(...requests);
    this.pump();
  }

  /** Takes the request that a reply answers. */
  answered(id: number): SubscribeRequest | undefined {
    const request = this.unanswered.get(id);
    this.unanswered.delete(id);
    this.pump();
    return request;
  }

  close(): void {
    clearTimeout(this.timer);
    this.waiting = [];
    this.unanswered.clear();
  }

  private pump(): void {
    clearTimeout(this.timer);
    if (this.waiting.length === 0 || this.unanswered.size >= MAX_UNANSWERED) return;
    const pause = this.nextSendAt - Date.now();
    if (pause > 0) {
      this.timer = setTimeout(() => this.pump(), pause);
      return;
    }
    const request = this.waiting.shift() as SubscribeRequest;
    const id = this.nextId++;
    // Other operations have no reply that matters.
    if (request.message.op === "subscribe") this.unanswered.set(id, request);
    this.nextSendAt = Date.now() + MIN_PAUSE_MS;
    this.send(JSON.stringify({ ...request.message, id }));
    this.pump();
  }
}
