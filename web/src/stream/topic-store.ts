/** The current value of one topic, for `useSyncExternalStore`. Subscribes to the topic while it has listeners. */

import type { StreamClient } from "./client";
import type { Painter } from "./painter";
import type { Channel, ChannelData, Subscription, TopicEvent } from "./protocol";

export class TopicStore<C extends Channel, State> {
  private readonly listeners = new Set<() => void>();
  private stop: (() => void) | null = null;
  private readonly notify = () => {
    for (const listener of [...this.listeners]) listener();
  };

  /** `reduce` returns the next state, or the same object if nothing changed. */
  constructor(
    private readonly stream: StreamClient,
    private readonly painter: Painter,
    private readonly subscription: Subscription<C>,
    private state: State,
    private readonly reduce: (state: State, event: TopicEvent<ChannelData[C]>) => State,
  ) {}

  readonly get = (): State => this.state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    this.stop ??= this.stream.subscribe(this.subscription, (event) => {
      const next = this.reduce(this.state, event);
      if (next === this.state) return;
      this.state = next;
      this.painter.schedule(this.notify);
    });
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size > 0) return;
      this.stop?.();
      this.stop = null;
    };
  };
}
