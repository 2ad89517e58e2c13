import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError } from "./client";
import { internals, invalidate } from "./query";

const { queryOf, queries } = internals;
const noop = () => {};

describe("queries", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    queries.clear();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("loads once for all users, and again when it is stale", async () => {
    let loads = 0;
    const query = queryOf({ key: "x", load: async () => ++loads, staleMs: 1000 });
    const stops = [query.subscribe(noop), query.subscribe(noop)];
    await vi.advanceTimersByTimeAsync(0);
    expect([loads, query.state.data]).toEqual([1, 1]);
    for (const stop of stops) stop();
    query.subscribe(noop)();
    expect(loads).toBe(1);
    await vi.advanceTimersByTimeAsync(1000);
    query.subscribe(noop);
    expect(loads).toBe(2);
  });

  it("polls only while it is used", async () => {
    let loads = 0;
    const query = queryOf({ key: "x", load: async () => ++loads, refetchMs: 100 });
    const stop = query.subscribe(noop);
    await vi.advanceTimersByTimeAsync(450);
    expect(loads).toBe(5);
    stop();
    await vi.advanceTimersByTimeAsync(1000);
    expect(loads).toBe(5);
  });

  it("retries temporary failures with growing pauses or as told, and keeps the last result", async () => {
    const results = [
      1,
      new ApiError("offline", 0, "x"),
      new ApiError("rate_limited", 429, "x", 7000),
      new ApiError("offline", 0, "x"),
      2,
    ];
    let loads = 0;
    const load = async () => {
      const result = results[loads++];
      if (result instanceof ApiError) throw result;
      return result;
    };
    const query = queryOf({ key: "x", load });
    query.subscribe(noop);
    await vi.advanceTimersByTimeAsync(0);
    query.refetch();
    await vi.advanceTimersByTimeAsync(0);
    expect(query.state).toMatchObject({ data: 1, error: { code: "offline" } });
    await vi.advanceTimersByTimeAsync(1000);
    expect(loads).toBe(3);
    await vi.advanceTimersByTimeAsync(6900);
    expect(loads).toBe(3);
    await vi.advanceTimersByTimeAsync(100 + 4000);
    expect(query.state).toEqual({ data: 2, error: null });
  });

  it("does not retry what cannot succeed", async () => {
    let loads = 0;
    const load = async () => {
      loads++;
      throw new ApiError("unknown_symbol", 404, "x");
    };
    queryOf({ key: "x", load, refetchMs: 100 }).subscribe(noop);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(loads).toBe(1);
  });

  it("loads the used queries of a kind again", async () => {
    const loads: string[] = [];
    const create = (key: string) => queryOf({ key, load: async () => loads.push(key), staleMs: 60_000 });
    const used = create("coverage a");
    used.subscribe(noop);
    create("coverage b").subscribe(noop)();
    create("backfills").subscribe(noop);
    await vi.advanceTimersByTimeAsync(0);
    loads.length = 0;
    invalidate("coverage");
    await vi.advanceTimersByTimeAsync(0);
    expect(loads).toEqual(["coverage a"]);
    create("coverage b").subscribe(noop);
    expect(loads).toEqual(["coverage a", "coverage b"]);
  });

  it("forgets results that nothing uses", async () => {
    for (let at = 0; at < 500; at++) queryOf({ key: `q ${at}`, load: async () => at }).subscribe(noop)();
    expect(queries.size).toBeLessThanOrEqual(202);
    await vi.advanceTimersByTimeAsync(301_000);
    queryOf({ key: "new", load: async () => 1 });
    expect([...queries.keys()]).toEqual(["new"]);
  });
});
