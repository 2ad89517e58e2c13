import type { Instrument } from "../api/types";
import {
  direction,
  formatAge,
  formatAmount,
  formatChange,
  formatPrice,
  priceDecimals,
} from "../model/format";
import { afterBase, baseOf, type Market, quoteOf } from "../model/market";
import { useTicker } from "../stream/live";
import { IconButton, Skeleton } from "../ui/controls";
import { useNow } from "../ui/use-now";
import styles from "./market-head.module.css";

/** The selected market: its name, price and figures of the last 24 hours. */
export function MarketHead({
  market,
  instrument,
  isWatched,
  onWatch,
}: {
  market: Market;
  instrument: Instrument | null;
  isWatched: boolean;
  onWatch: (add: boolean) => void;
}) {
  const { ticker, decimals: seen, lastMove, rejected } = useTicker(market);
  const decimals = instrument?.price_step ? priceDecimals(instrument.price_step) : seen;
  const price = (value: number | null | undefined) => (ticker ? formatPrice(value, decimals) : null);
  const change = ticker?.change_percent;
  const spread = ticker?.bid && ticker.ask ? ((ticker.ask - ticker.bid) / ticker.ask) * 10_000 : null;
  return (
    <div className={styles.head}>
      <div className={styles.name}>
        <IconButton
          icon="star"
          filled={isWatched}
          className={isWatched ? styles.watched : ""}
          label={isWatched ? "Remove from the watchlist" : "Add to the watchlist"}
          aria-pressed={isWatched}
          onClick={() => onWatch(!isWatched)}
        />
        <div>
          <h1>
            {baseOf(market.symbol)}
            <span>/{afterBase(market.symbol)}</span>
          </h1>
          <p>
            {market.exchange}
            {instrument && instrument.status !== "trading" && (
              <span className="warn"> · {instrument.status}</span>
            )}
          </p>
        </div>
      </div>
      <div className={styles.price}>
        <strong className={lastMove}>{price(ticker?.last) ?? <Skeleton width={96} />}</strong>
        <span className={direction(change)}>{ticker ? formatChange(change) : ""}</span>
      </div>
      <dl className={styles.figures}>
        <Figure label="Bid" value={price(ticker?.bid)} />
        <Figure label="Ask" value={price(ticker?.ask)} />
        <Figure
          label="Spread"
          value={ticker && (spread === null ? "–" : `${formatAmount(Number(spread.toPrecision(2)))} bp`)}
        />
        <Figure label="24h high" value={price(ticker?.high)} />
        <Figure label="24h low" value={price(ticker?.low)} />
        <Figure
          label={`Volume, ${quoteOf(market.symbol)}`}
          value={ticker && formatAmount(ticker.quote_volume)}
        />
        {ticker && <Age receivedAt={ticker.received_at} />}
      </dl>
      {rejected && <p className={`${styles.rejected} warn`}>{rejection(rejected)}</p>}
    </div>
  );
}

function Figure({ label, value }: { label: string; value: string | null }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd>{value ?? <Skeleton width={56} />}</dd>
    </div>
  );
}

function Age({ receivedAt }: { receivedAt: number }) {
  return <Figure label="Age" value={formatAge(useNow() - receivedAt)} />;
}

/** What to do about a market that is not streamed. */
function rejection(code: string): string {
  switch (code) {
    case "unknown_symbol":
      return "The exchange does not list this market.";
    case "unknown_exchange":
      return "This exchange is not enabled. Enable it in the configuration of the service.";
    case "too_many_symbols":
      return "The service collects as many markets on demand as it may (collect.on_demand_symbols).";
    case "not_ready":
      return "The exchange is not connected yet.";
    default:
      return `This market is not streamed now (${code}).`;
  }
}
