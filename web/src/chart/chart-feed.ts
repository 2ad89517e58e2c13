/**
 * The data of one chart: pages of history, merged with live candles. It has no user interface: the chart listens to
 * its changes.
 */

import { ApiError } from "../api/client";
import type { Candle, History } from "../api/types";
import { CandleSeries, PAGE_SIZE } from "../model/candle-series";
import { floorTime, type Interval, intervalLength, nextOpen } from "../model/interval";
import type { Market } from "../model/market";
import { OpenCandle } from "../model/open-candle";
import type { StreamClient } from "../stream/client";
import type { StreamCandle, TopicEvent } from "../stream/protocol";

/** Parameters of `/v1/history` that the chart uses. */
export interface HistoryParams {
  interval: Interval;
  limit: number;
  start?: number;
  end?: number;
  cursor?: string;
}

export interface ChartFeedOptions {
  market: Market;
  interval: Interval;
  stream: Pick<StreamClient, "subscribe" | "now">;
  fetchHistory: (params: HistoryParams) => Promise<History>;
}

export type FeedPhase = "loading" | "ready" | "failed";

/** `all`: any point may have changed; `last`: only the last candle was updated or appended. */
export type FeedChange = "all" | "last";

/** Pauses between requests for gaps that the service is fetching. */
const FIRST_GAP_PAUSE_MS = 2000;
const MAX_GAP_PAUSE_MS = 30_000;

/** Gaps that are requested again at a time. */
const MAX_GAP_REQUESTS = 3;

/** Pages that are loaded to catch up after an interruption. Beyond that the chart starts anew. */
const MAX_CATCH_UP_PAGES = 5;

/** A candle that is this late, and is requested once per minute: its market has no trades, or its exchange is down. */
const LATE_MS = 15_000;
const LATE_CHECK_MS = 60_000;

const CATCH_UP_PAUSE_MS = 1000;
const RETRY_PAUSE_MS = 3000;

export class ChartFeed {
  series: CandleSeries;
  phase: FeedPhase = "loading";
  error: ApiError | null = null;
  isLoadingOlder = false;
  /** Whether there are no older candles. */
  isAtStart = false;
  isSimulated = false;
  private cursor: string | null = null;
  private openCandle: OpenCandle | null = null;
  private isOpenCandleLoading = false;
  private isClosed = false;
  private isCatchingUp = false;
  private gapPause = FIRST_GAP_PAUSE_MS;
  private readonly timers = new Map<string, ReturnType<typeof setTimeout>>();
  private readonly unsubscribe: (() => void)[] = [];
  private readonly listeners = new Set<(change: FeedChange) => void>();

  constructor(private readonly options: ChartFeedOptions) {
    this.series = new CandleSeries(options.interval);
  }

  start(): void {
    const { market, interval, stream } = this.options;
    const subscribe = (of: Interval, receive: (candle: Candle) => void) => {
      const subscription = { channel: "candles", ...market, interval: of, snapshot: 1 } as const;
      this.unsubscribe.push(stream.subscribe(subscription, (event) => this.receive(event, receive)));
    };
    subscribe(interval, (candle) => this.merge(candle));
    if (interval !== "1m") subscribe("1m", (minute) => this.receiveMinute(minute));
    this.checkLate();
    this.load();
  }

  close(): void {
    this.isClosed = true;
    for (const stop of this.unsubscribe) stop();
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.listeners.clear();
  }

  onChange(listener: (change: FeedChange) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Loads the newest page, and starts anew if candles are loaded already. */
  async load(): Promise<void> {
    this.phase = "loading";
    this.error = null;
    this.notify("all");
    const page = await this.request({ limit: PAGE_SIZE });
    if (!page) return;
    const live = this.series.candles;
    this.series = new CandleSeries(this.options.interval);
    this.series.prepend(page);
    // Live candles that arrived during the request.
    const first = page.candles[0]?.timestamp ?? 0;
    for (const candle of live) if (candle.timestamp >= first) this.series.merge(candle);
    this.cursor = page.next_cursor;
    this.isAtStart = page.next_cursor === null;
    this.isSimulated = page.simulated;
    this.phase = "ready";
    this.notify("all");
    this.fetchGapsLater();
  }

  /** Loads the page before the oldest candle. */
  async loadOlder(): Promise<void> {
    if (this.phase !== "ready" || this.isLoadingOlder || this.isAtStart || this.series.isFull) return;
    if (this.cursor === null) return;
    this.isLoadingOlder = true;
    this.notify("last");
    const page = await this.request({ limit: PAGE_SIZE, cursor: this.cursor });
    this.isLoadingOlder = false;
    if (!page) return;
    this.series.prepend(page);
    this.cursor = page.next_cursor;
    this.isAtStart = page.next_cursor === null;
    this.notify("all");
    this.fetchGapsLater();
  }

  private receive(event: TopicEvent<StreamCandle>, merge: (candle: Candle) => void): void {
    switch (event.type) {
      case "value":
        merge(event.value);
        break;
      case "snapshot":
        event.values.forEach(merge);
        break;
      case "gap":
        this.openCandle = null;
        this.catchUpLater();
        break;
      case "rejected":
        // The history of a market that is not collected remains available.
        break;
    }
  }

  private merge(candle: Candle): void {
    const last = this.series.candles.at(-1);
    const result = this.series.merge(candle);
    if (result === "ignored") return;
    if (this.phase === "loading") return;
    // A jump is time without trades, or candles that were missed.
    const jumped = last && candle.timestamp > nextOpen(this.options.interval, last.timestamp);
    if (jumped || (last && !last.closed && candle.timestamp > last.timestamp)) this.catchUpLater();
    this.notify(result === "inserted" || candle.revision > 0 ? "all" : "last");
  }

  /** Updates the open candle of a longer interval. */
  private receiveMinute(minute: Candle): void {
    if (this.openCandle?.contains(minute)) {
      this.openCandle.add(minute);
      const candle = this.openCandle.candle();
      if (candle && this.phase !== "loading") this.merge(candle);
    } else if (!this.openCandle || minute.timestamp > this.openCandle.openTime) {
      this.loadOpenCandle(minute);
    }
  }

  /** Loads the parts of the open candle that contains a minute. */
  private async loadOpenCandle(minute: Candle): Promise<void> {
    if (this.isOpenCandleLoading) return;
    this.isOpenCandleLoading = true;
    this.openCandle = null;
    const { interval } = this.options;
    const openTime = floorTime(interval, minute.timestamp);
    const minutesStart = OpenCandle.minutesStart(interval, minute.timestamp);
    const minutes = await this.request({ interval: "1m", start: minutesStart, limit: 1500 });
    const days =
      minutesStart > openTime
        ? await this.request({ interval: "1d", start: openTime, end: minutesStart, limit: 31 })
        : { candles: [], complete: true };
    this.isOpenCandleLoading = false;
    if (this.isClosed) return;
    if (!minutes?.complete || !days?.complete) {
      // An incomplete candle is not shown: its high, low and volume would be wrong.
      this.later("open candle", RETRY_PAUSE_MS, () => this.loadOpenCandle(minute));
      return;
    }
    this.openCandle = new OpenCandle(interval, openTime, days.candles, minutes.candles);
    this.receiveMinute(minute);
  }

  /** Requests candles that do not arrive: so the time of an outage is shown as a gap with its reason. */
  private checkLate(): void {
    this.later("late", LATE_CHECK_MS, () => {
      const last = this.series.candles.at(-1);
      const { interval, stream } = this.options;
      // The candle after the last one should have closed.
      const due = last && nextOpen(interval, nextOpen(interval, last.timestamp));
      if (due && stream.now() > due + LATE_MS) this.catchUp();
      this.checkLate();
    });
  }

  private catchUpLater(): void {
    this.later("catch up", CATCH_UP_PAUSE_MS, () => this.catchUp());
  }

  /** Loads the candles since the last one that is known to be final. */
  private async catchUp(): Promise<void> {
    if (this.phase !== "ready" || this.isCatchingUp) return;
    const { interval } = this.options;
    const start = this.series.candles.findLast(({ closed }) => closed)?.timestamp;
    if (start === undefined) return void this.load();
    this.isCatchingUp = true;
    let cursor: string | null = null;
    for (let at = 0; at < MAX_CATCH_UP_PAGES; at++) {
      const page = await this.request({ start, limit: PAGE_SIZE, ...(cursor === null ? {} : { cursor }) });
      if (!page) break;
      cursor = page.next_cursor;
      const last = page.candles.at(-1);
      const isLastPage = cursor === null || last === undefined;
      const end = isLastPage ? Number.POSITIVE_INFINITY : nextOpen(interval, last.timestamp);
      this.series.replace(page, page.candles[0]?.timestamp ?? start, end);
      if (cursor === null) break;
    }
    this.isCatchingUp = false;
    if (this.isClosed) return;
    if (cursor !== null) return void this.load();
    this.notify("all");
    this.fetchGapsLater();
  }

  /** Requests gaps again that the service is fetching. */
  private fetchGapsLater(): void {
    const isTemporary = ({ reason }: { reason: string }) => reason === "pending" || reason === "offline";
    if (!this.series.gaps.some(isTemporary)) {
      this.gapPause = FIRST_GAP_PAUSE_MS;
      return;
    }
    this.later("gaps", this.gapPause, async () => {
      this.gapPause = Math.min(this.gapPause * 1.5, MAX_GAP_PAUSE_MS);
      // The newest gaps are the ones in view.
      for (const gap of this.series.gaps.filter(isTemporary).slice(-MAX_GAP_REQUESTS)) {
        const { interval } = this.options;
        const end = Math.min(gap.end, gap.start + PAGE_SIZE * intervalLength(interval));
        const page = await this.request({ start: gap.start, end, limit: PAGE_SIZE });
        if (!page) break;
        if (page.candles.length > 0 || page.complete) this.gapPause = FIRST_GAP_PAUSE_MS;
        this.series.replace(page, gap.start, end);
      }
      if (this.isClosed) return;
      this.notify("all");
      this.fetchGapsLater();
    });
  }

  /** Requests a page. Returns null if that failed, or if the chart was closed in the meantime. */
  private async request(params: Partial<HistoryParams> & { limit: number }): Promise<History | null> {
    try {
      const page = await this.options.fetchHistory({ interval: this.options.interval, ...params });
      return this.isClosed ? null : page;
    } catch (error) {
      if (this.isClosed) return null;
      this.isLoadingOlder = false;
      if (this.phase === "loading") {
        this.phase = "failed";
        this.error = error instanceof ApiError ? error : new ApiError("internal", 0, String(error));
        const isFinal = [400, 401, 403, 404].includes(this.error.status);
        if (!isFinal) this.later("load", this.error.retryAfterMs ?? RETRY_PAUSE_MS, () => this.load());
      }
      this.notify("all");
      return null;
    }
  }

  /** Runs a task after a pause, unless the same task waits already. */
  private later(name: string, pause: number, task: () => unknown): void {
    if (this.isClosed || this.timers.has(name)) return;
    const timer = setTimeout(() => {
      this.timers.delete(name);
      task();
    }, pause);
    this.timers.set(name, timer);
  }

  private notify(change: FeedChange): void {
    for (const listener of [...this.listeners]) listener(change);
  }
}
