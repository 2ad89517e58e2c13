import type { TopicEvent, Trade } from "./protocol";

/** Maximum number of rows that the trade tape keeps. */
export const TAPE_LENGTH = 200;

/** A row of the trade tape: a trade, or a place where trades are missing. */
export type TapeRow =
  | { key: string; trade: Trade }
  | { key: string; gap: { reason: string; missed: number | null } };

/** The latest trades of a market, newest first. */
export interface Tape {
  rows: readonly TapeRow[];
  /** Whether the first snapshot arrived. */
  isReady: boolean;
  rejected: string | null;
  /** Number of events, for the keys of gap rows. */
  count: number;
}

export const EMPTY_TAPE: Tape = { rows: [], isReady: false, rejected: null, count: 0 };

export function reduceTape(tape: Tape, event: TopicEvent<Trade>): Tape {
  const count = tape.count + 1;
  switch (event.type) {
    case "snapshot":
      return {
        rows: event.values.map(row).reverse().slice(0, TAPE_LENGTH),
        isReady: true,
        rejected: null,
        count,
      };
    case "value":
      return {
        ...tape,
        rows: [row(event.value), ...tape.rows.slice(0, TAPE_LENGTH - 1)],
        isReady: true,
        count,
      };
    case "gap": {
      const { reason, missed } = event;
      // Two gaps without a trade between them are one for the reader.
      if (tape.rows.length === 0 || "gap" in (tape.rows[0] as TapeRow)) return tape;
      return {
        ...tape,
        rows: [{ key: `gap${count}`, gap: { reason, missed } }, ...tape.rows].slice(0, TAPE_LENGTH),
        count,
      };
    }
    case "rejected":
      return { ...tape, rejected: event.code, count };
  }
}

function row(trade: Trade): TapeRow {
  return { key: trade.id, trade };
}
