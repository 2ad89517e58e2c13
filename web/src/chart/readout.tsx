import {
  direction,
  formatAmount,
  formatChange,
  formatCount,
  formatDuration,
  formatPrice,
} from "../model/format";
import { gapExplanation } from "../model/gap-reason";
import type { Interval } from "../model/interval";
import { formatOpenTime, zoneName } from "../model/time";
import type { ChartFeed } from "./chart-feed";
import styles from "./readout.module.css";

interface Props {
  feed: ChartFeed;
  /** The time under the crosshair; null for the latest candle. */
  time: number | null;
  interval: Interval;
  zone: string;
  decimals: number;
}

/** The values of the candle under the crosshair, or of the latest one. */
export function Readout({ feed, time, interval, zone, decimals }: Props) {
  const candle = time === null ? feed.series.candles.at(-1) : feed.series.find(time);
  const at = time ?? candle?.timestamp;
  if (at === undefined) return null;
  const gap = candle ? undefined : feed.series.gapAt(at);
  return (
    <div
      className={styles.readout}
      data-testid="readout"
      data-time={at}
      aria-live={time === null ? "off" : "polite"}
    >
      <span className={styles.time}>
        {formatOpenTime(interval, zone, at)} {zoneName(zone, at)}
      </span>
      {candle && (
        <>
          <Value name="O" value={formatPrice(candle.open, decimals)} />
          <Value name="H" value={formatPrice(candle.high, decimals)} />
          <Value name="L" value={formatPrice(candle.low, decimals)} />
          <Value name="C" value={formatPrice(candle.close, decimals)} />
          <span className={direction(candle.close - candle.open)}>
            {formatChange((candle.close / candle.open - 1) * 100)}
          </span>
          <Value name="Vol" value={formatAmount(candle.volume)} />
          {candle.trades !== null && <Value name="Trades" value={formatCount(candle.trades)} />}
          {!candle.closed && <span className={styles.tag}>open</span>}
          {candle.revision > 0 && (
            <span className={styles.tag}>
              corrected {candle.revision === 1 ? "once" : `${candle.revision} times`}
            </span>
          )}
        </>
      )}
      {gap && (
        <span className="warn">
          {gapExplanation(gap.reason)} Gap of {formatDuration(gap.end - gap.start)}.
        </span>
      )}
      {!candle && !gap && <span className="muted">No trades</span>}
    </div>
  );
}

function Value({ name, value }: { name: string; value: string }) {
  return (
    <span>
      <i>{name}</i>
      {value}
    </span>
  );
}
