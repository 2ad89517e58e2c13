/**
 * Cached results of requests. A query is loaded when a component first uses it, again when it is stale and used, at
 * intervals while it is used, and after failures that may be temporary.
 */

import { useEffect, useState, useSyncExternalStore } from "react";
import { ApiError } from "./client";

export interface QueryOptions<T> {
  /** Identifies the result. Queries of one kind share a prefix, up to the first space. */
  key: string;
  load: () => Promise<T>;
  /** Age from which a result is loaded again when it is used, in milliseconds. */
  staleMs?: number;
  /** Pause between loads while the result is used, in milliseconds. */
  refetchMs?: number | ((data: T | undefined) => number);
}

export interface QueryState<T> {
  /** The latest result. It remains after a failure. */
  data: T | undefined;
  /** The failure of the latest load. */
  error: ApiError | null;
}

/** Results that nothing uses are kept for this time, and at most this many. */
const UNUSED_MS = 300_000;
const MAX_UNUSED = 200;

const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 15_000;

/** Errors that a retry cannot change. */
const FINAL = [400, 401, 403, 404, 405];

class Query<T> {
  state: QueryState<T> = { data: undefined, error: null };
  unusedSince = Date.now();
  private readonly listeners = new Set<() => void>();
  private loading: Promise<void> | null = null;
  private loadedAt = Number.NEGATIVE_INFINITY;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(public options: QueryOptions<T>) {}

  get isUsed(): boolean {
    return this.listeners.size > 0;
  }

  readonly get = (): QueryState<T> => this.state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    if (this.listeners.size === 1) {
      const isStale = Date.now() - this.loadedAt >= (this.options.staleMs ?? 0);
      if (isStale) this.refetch();
      else this.schedule();
    }
    return () => {
      this.listeners.delete(listener);
      if (this.isUsed) return;
      clearTimeout(this.timer);
      this.unusedSince = Date.now();
    };
  };

  readonly refetch = (): Promise<void> => {
    clearTimeout(this.timer);
    this.loading ??= this.load();
    return this.loading;
  };

  /** Loads the result again now if it is used, else when it is used next. */
  invalidate(): void {
    this.loadedAt = Number.NEGATIVE_INFINITY;
    if (this.isUsed) this.refetch();
  }

  private async load(): Promise<void> {
    try {
      const data = await this.options.load();
      this.loadedAt = Date.now();
      this.failures = 0;
      this.set({ data, error: null });
    } catch (failure) {
      const error = failure instanceof ApiError ? failure : new ApiError("internal", 0, String(failure));
      this.failures++;
      this.set({ data: this.state.data, error });
    }
    this.loading = null;
    this.schedule();
  }

  /** Plans the next load while the query is used. */
  private schedule(): void {
    clearTimeout(this.timer);
    const pause = this.pause();
    if (this.isUsed && pause !== null) this.timer = setTimeout(this.refetch, pause);
  }

  private pause(): number | null {
    const { error, data } = this.state;
    if (error) {
      if (FINAL.includes(error.status)) return null;
      return error.retryAfterMs ?? Math.min(FIRST_RETRY_MS * 2 ** (this.failures - 1), MAX_RETRY_MS);
    }
    const { refetchMs } = this.options;
    return typeof refetchMs === "function" ? refetchMs(data) : (refetchMs ?? null);
  }

  private set(state: QueryState<T>): void {
    this.state = state;
    for (const listener of [...this.listeners]) listener();
  }
}

const queries = new Map<string, Query<unknown>>();

function queryOf<T>(options: QueryOptions<T>): Query<T> {
  const existing = queries.get(options.key) as Query<T> | undefined;
  if (existing) {
    existing.options = options;
    return existing;
  }
  removeUnused();
  const created = new Query(options);
  queries.set(options.key, created as Query<unknown>);
  return created;
}

function removeUnused(): void {
  const unused = [...queries].filter(([, query]) => !query.isUsed);
  const oldest = Date.now() - UNUSED_MS;
  unused.forEach(([key, query], at) => {
    if (query.unusedSince < oldest || at < unused.length - MAX_UNUSED) queries.delete(key);
  });
}

/** Loads all queries of a kind again; without a kind all queries. */
export function invalidate(kind?: string): void {
  for (const [key, query] of queries) {
    if (kind === undefined || key.split(" ")[0] === kind) query.invalidate();
  }
}

/** The result of a query. */
export function useQuery<T>(options: QueryOptions<T>): QueryState<T> & { refetch: () => void } {
  const query = queryOf(options);
  const state = useSyncExternalStore(query.subscribe, query.get);
  return { ...state, refetch: query.refetch };
}

/** A change that a user starts. */
export function useMutation<Input>(change: (input: Input) => Promise<unknown>) {
  const [pending, setPending] = useState<{ input: Input } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const start = async (input: Input) => {
    setPending({ input });
    setError(null);
    try {
      await change(input);
    } catch (failure) {
      setError(failure);
    }
    setPending(null);
  };
  return { isPending: pending !== null, input: pending?.input, error, start };
}

/** The latest value that is not undefined: keeps a list in place while the next one is loading. */
export function useLatest<T>(value: T | undefined): T | undefined {
  const [latest, setLatest] = useState(value);
  useEffect(() => {
    if (value !== undefined) setLatest(value);
  }, [value]);
  return value ?? latest;
}

/** For tests. */
export const internals = { queryOf, queries };
