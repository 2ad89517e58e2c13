import { useMemo } from "react";
import { exchangesQuery } from "../api/queries";
import { useQuery } from "../api/query";
import type { Instrument } from "../api/types";
import { formatAge, formatPrice, priceDecimals } from "../model/format";
import { afterBase, baseOf, type Market, marketId, quoteOf, sameMarket } from "../model/market";
import { useTicker } from "../stream/live";
import { Skeleton } from "../ui/controls";
import { useNow } from "../ui/use-now";
import styles from "./comparison.module.css";
import panel from "./panel.module.css";

/** Quotes that are worth about the same, in whose markets prices can be compared. */
const DOLLARS = ["USD", "USDT", "USDC"];

/** Maximum number of markets: each is collected while it is shown. */
const MAX_COMPARED = 10;

interface Props {
  market: Market;
  /** Markets with the same base asset; null while they are loading. */
  instruments: Instrument[] | null;
  onSelect: (market: Market) => void;
}

/** The same asset on other exchanges, with the distance of their prices. */
export function Comparison({ market, instruments, onSelect }: Props) {
  const compared = useCompared(market, instruments);
  return (
    <section className={styles.comparison} aria-label={`${baseOf(market.symbol)} on all exchanges`}>
      <div className={panel.head}>
        <h2>{baseOf(market.symbol)} on all exchanges</h2>
      </div>
      <table className={styles.table}>
        <thead>
          <tr>
            <th scope="col">Exchange</th>
            <th scope="col">Last</th>
            <th scope="col">Distance</th>
            <th scope="col">Age</th>
          </tr>
        </thead>
        <tbody>
          {compared.map((other) => (
            <Row key={marketId(other)} market={other} selected={market} onSelect={onSelect} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Row({
  market,
  selected,
  onSelect,
}: {
  market: Market;
  selected: Market;
  onSelect: (market: Market) => void;
}) {
  const { ticker, decimals } = useTicker(market);
  const reference = useTicker(selected).ticker?.last ?? null;
  const now = useNow();
  const isSelected = sameMarket(market, selected);
  const last = ticker?.last ?? null;
  const distance = last !== null && reference ? (last / reference - 1) * 10_000 : null;
  return (
    <tr className={isSelected ? styles.selected : ""}>
      <th scope="row">
        <button type="button" onClick={() => onSelect(market)} aria-current={isSelected ? "true" : undefined}>
          {market.exchange} <span>{afterBase(market.symbol)}</span>
        </button>
      </th>
      <td>
        {ticker ? (
          formatPrice(last, Math.max(decimals, priceDecimals(null, [last])))
        ) : (
          <Skeleton width={56} />
        )}
      </td>
      <td className={isSelected || !distance ? "muted" : distance > 0 ? "up" : "down"}>
        {isSelected ? "–" : basisPoints(distance)}
      </td>
      <td className="muted">{ticker ? formatAge(now - ticker.received_at) : ""}</td>
    </tr>
  );
}

function basisPoints(value: number | null): string {
  if (value === null) return "";
  const text = Math.abs(value).toFixed(Math.abs(value) < 100 ? 1 : 0);
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${text} bp`;
}

/** The same symbol on every exchange, and what is collected anyway of the asset in a similar quote. */
function useCompared(market: Market, instruments: Instrument[] | null): Market[] {
  const exchanges = useQuery(exchangesQuery).data;
  return useMemo(() => {
    const quote = quoteOf(market.symbol);
    const isSimilar = (other: string) => DOLLARS.includes(quote) && DOLLARS.includes(other);
    const isCollected = ({ exchange, symbol }: Market) =>
      exchanges?.some(({ id, symbols }) => id === exchange && symbols.includes(symbol));
    const others = (instruments ?? []).filter(
      (other) =>
        other.active && (other.symbol === market.symbol || (isSimilar(other.quote) && isCollected(other))),
    );
    const all = others.map(({ exchange, symbol }) => ({ exchange, symbol }));
    if (!all.some((other) => sameMarket(other, market))) all.unshift(market);
    return all.slice(0, MAX_COMPARED);
  }, [market, instruments, exchanges]);
}
