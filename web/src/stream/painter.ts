/** Limits repaints: all stores of the page notify React together, at most five times per second. */

export const PAINT_INTERVAL_MS = 200;

type Notify = () => void;

export class Painter {
  private readonly pending = new Set<Notify>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private lastPaintAt = Number.NEGATIVE_INFINITY;

  /** Calls `notify` at the next paint, once, however often it is scheduled until then. */
  schedule(notify: Notify): void {
    this.pending.add(notify);
    if (this.timer !== undefined) return;
    const pause = Math.max(0, this.lastPaintAt + PAINT_INTERVAL_MS - Date.now());
    this.timer = setTimeout(() => this.paint(), pause);
  }

  private paint(): void {
    this.timer = undefined;
    this.lastPaintAt = Date.now();
    const due = [...this.pending];
    this.pending.clear();
    for (const notify of due) notify();
  }
}
