import { useMemo, useSyncExternalStore } from "react";
import { useAppState } from "../app-state";
import { formatAmount, formatPrice, plural, priceDecimals } from "../model/format";
import type { Market } from "../model/market";
import { formatClock, zoneName } from "../model/time";
import { tapeStore } from "../stream/live";
import type { TapeRow } from "../stream/tape";
import { EmptyNote, Skeleton } from "../ui/controls";
import panel from "./panel.module.css";
import styles from "./trade-tape.module.css";

/** Rows that are rendered. */
const SHOWN = 60;

const REASONS: Record<string, string> = {
  upstream_disconnect: "the exchange was disconnected",
  slow_client: "this page was too slow",
  resume_expired: "this page was away for too long",
  bus_lost: "the service lost events",
  new_epoch: "another collector took over",
};

/** The latest trades of a market; missed ones are shown as a gap. */
export function TradeTape({ market, priceStep }: { market: Market; priceStep: number | null }) {
  const { zone } = useAppState();
  const store = useMemo(() => tapeStore(market), [market]);
  const { rows, isReady, rejected } = useSyncExternalStore(store.subscribe, store.get);
  const shown = rows.slice(0, SHOWN);
  const decimals = priceDecimals(
    priceStep,
    shown.map((row) => ("trade" in row ? row.trade.price : null)),
  );
  return (
    <section className={styles.tape} aria-label="Trades">
      <div className={panel.head}>
        <h2>Trades</h2>
      </div>
      <table className={styles.table}>
        <thead>
          <tr>
            <th scope="col">Price</th>
            <th scope="col">Amount</th>
            <th scope="col">{zone === "UTC" ? "UTC" : zoneName(zone, Date.now())}</th>
          </tr>
        </thead>
        <tbody>
          {!isReady && !rejected && <LoadingRows />}
          {shown.map((row) => (
            <Row key={row.key} row={row} decimals={decimals} zone={zone} />
          ))}
        </tbody>
      </table>
      {isReady && rows.length === 0 && <EmptyNote title="No trades yet" />}
      {rejected && <EmptyNote title="No trades of this market are received now" />}
    </section>
  );
}

function Row({ row, decimals, zone }: { row: TapeRow; decimals: number; zone: string }) {
  if ("gap" in row) {
    const { missed, reason } = row.gap;
    return (
      <tr className={styles.gap}>
        <td colSpan={3}>
          {missed === null ? "Trades" : plural(missed, "trade")} missed: {REASONS[reason] ?? reason}
        </td>
      </tr>
    );
  }
  const { price, amount, side, timestamp } = row.trade;
  return (
    <tr>
      <td className={side === "buy" ? "up" : "down"}>
        <span aria-hidden="true">{side === "buy" ? "▴" : "▾"}</span> {formatPrice(price, decimals)}
        <span className="visually-hidden">{side === "buy" ? " bought" : " sold"}</span>
      </td>
      <td>{formatAmount(amount)}</td>
      <td className="muted">{formatClock(zone, timestamp, true)}</td>
    </tr>
  );
}

function LoadingRows() {
  return Array.from({ length: 6 }, (_, at) => (
    // biome-ignore lint/suspicious/noArrayIndexKey: the placeholders are equal
    <tr key={at}>
      <td>
        <Skeleton width={64} />
      </td>
      <td>
        <Skeleton width={40} />
      </td>
      <td>
        <Skeleton width={48} />
      </td>
    </tr>
  ));
}
