import { direction, formatAge, formatChange, formatPrice } from "../model/format";
import { afterBase, baseOf, type Market, marketId } from "../model/market";
import { useTicker } from "../stream/live";
import { Icon } from "../ui/icons";
import { useNow } from "../ui/use-now";
import { Sparkline } from "./sparkline";
import { useExchangeState } from "./use-exchange";
import styles from "./watchlist.module.css";

interface Props {
  market: Market;
  /** Distance from the top of the list, in pixels. */
  top: number;
  position: number;
  count: number;
  isSelected: boolean;
  onSelect: () => void;
  onRemove: () => void;
}

export function WatchlistRow({ market, top, position, count, isSelected, onSelect, onRemove }: Props) {
  const { ticker, decimals, rejected } = useTicker(market);
  const state = useExchangeState(market.exchange);
  const change = ticker?.change_percent;
  const price = (value: number | null | undefined) => formatPrice(value, decimals);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the list handles the keys
    <div
      id={`row-${marketId(market)}`}
      className={`${styles.row} ${isSelected ? styles.selected : ""}`}
      role="option"
      tabIndex={-1}
      aria-selected={isSelected}
      aria-posinset={position}
      aria-setsize={count}
      style={{ transform: `translateY(${top}px)` }}
      onClick={onSelect}
    >
      <span className={styles.market}>
        <span className={styles.symbol}>
          {baseOf(market.symbol)}
          <i>/{afterBase(market.symbol)}</i>
        </span>
        <small>
          {market.exchange}
          {state && state !== "live" && state !== "simulated" && <b className="warn"> {state}</b>}
        </small>
      </span>
      <Sparkline market={market} direction={direction(change)} />
      <span className={styles.number}>
        <span>{price(ticker?.last)}</span>
        <small title="Bid and ask">
          {ticker ? `${price(ticker.bid)} · ${price(ticker.ask)}` : (rejected ?? "")}
        </small>
      </span>
      <span className={styles.number}>
        <span className={direction(change)}>{formatChange(change)}</span>
        <small>{ticker ? <Age receivedAt={ticker.received_at} /> : ""}</small>
      </span>
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: Delete does the same */}
      {/* biome-ignore lint/a11y/noStaticElementInteractions: an option contains no controls */}
      <span
        className={styles.remove}
        title="Remove from the watchlist"
        onClick={(event) => {
          event.stopPropagation();
          onRemove();
        }}
      >
        <Icon name="close" />
      </span>
    </div>
  );
}

function Age({ receivedAt }: { receivedAt: number }) {
  return formatAge(useNow() - receivedAt);
}
