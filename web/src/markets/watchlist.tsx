import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { useAppState } from "../app-state";
import { type Market, marketId, sameMarket } from "../model/market";
import { nextSort, type Sort, type SortKey, sortMarkets } from "../model/sort";
import { removeMarket } from "../model/watchlist";
import { tickerStore } from "../stream/live";
import { Button, EmptyNote, IconButton, Skeleton } from "../ui/controls";
import { scrollToRow, useVisibleRows } from "../ui/visible-rows";
import panel from "./panel.module.css";
import styles from "./watchlist.module.css";
import { WatchlistRow } from "./watchlist-row";

export const ROW_HEIGHT = 48;

/** How often a list that is sorted by live values is sorted again. */
const SORT_INTERVAL_MS = 2000;

interface Props {
  /** Null while the list is loading. */
  markets: Market[] | null;
  selected: Market | null;
  onSelect: (market: Market) => void;
  onSearch: () => void;
}

export function Watchlist({ markets, selected, onSelect, onSearch }: Props) {
  const { setWatched } = useAppState();
  const [sort, setSort] = useState<Sort | null>(null);
  const sorted = useSorted(markets ?? [], sort);
  return (
    <>
      <div className={panel.head}>
        <h2>Watchlist</h2>
        <div className={panel.actions}>
          <ShareButton markets={markets ?? []} />
          <IconButton icon="plus" label="Add a market" onClick={onSearch} />
        </div>
      </div>
      <div className={styles.columns}>
        <SortButton label="Market" sortKey="market" sort={sort} onSort={setSort} />
        <span className={styles.group}>
          <SortButton label="Last" sortKey="last" sort={sort} onSort={setSort} />
        </span>
        <span className={styles.group}>
          <SortButton label="24h" sortKey="change" sort={sort} onSort={setSort} />
          <SortButton label="Age" sortKey="age" sort={sort} onSort={setSort} />
        </span>
      </div>
      {markets === null ? (
        <LoadingRows />
      ) : markets.length === 0 ? (
        <EmptyNote title="Your watchlist is empty">
          <Button onClick={onSearch}>Add a market</Button>
        </EmptyNote>
      ) : (
        <Rows
          markets={sorted}
          selected={selected}
          onSelect={onSelect}
          onRemove={(market) => setWatched(removeMarket(markets, market))}
        />
      )}
    </>
  );
}

interface RowsProps {
  markets: Market[];
  selected: Market | null;
  onSelect: (market: Market) => void;
  onRemove: (market: Market) => void;
}

/** Only visible rows exist, and only they subscribe to tickers. */
function Rows({ markets, selected, onSelect, onRemove }: RowsProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const { first, last } = useVisibleRows(scroller, ROW_HEIGHT, markets.length);
  const active = Math.max(
    0,
    markets.findIndex((market) => sameMarket(market, selected)),
  );

  const onKeyDown = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW_HEIGHT) - 1);
    const steps: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -markets.length,
      End: markets.length,
    };
    const step = steps[event.key];
    const current = markets[active];
    if (step !== undefined) {
      event.preventDefault();
      const next = Math.min(Math.max(active + step, 0), markets.length - 1);
      onSelect(markets[next] as Market);
      scrollToRow(scroller.current, ROW_HEIGHT, next);
    } else if (event.key === "Delete" && current) {
      onRemove(current);
    }
  };

  return (
    <div
      ref={scroller}
      className={styles.rows}
      role="listbox"
      aria-label="Watched markets; arrow keys select, Delete removes"
      aria-activedescendant={`row-${marketId(markets[active] as Market)}`}
      tabIndex={0}
      onKeyDown={onKeyDown}
    >
      <div className={styles.space} role="presentation" style={{ height: markets.length * ROW_HEIGHT }}>
        {markets.slice(first, last).map((market, at) => (
          <WatchlistRow
            key={marketId(market)}
            market={market}
            top={(first + at) * ROW_HEIGHT}
            position={first + at + 1}
            count={markets.length}
            isSelected={sameMarket(market, selected)}
            onSelect={() => onSelect(market)}
            onRemove={() => onRemove(market)}
          />
        ))}
      </div>
    </div>
  );
}

function SortButton({
  label,
  sortKey,
  sort,
  onSort,
}: {
  label: string;
  sortKey: SortKey;
  sort: Sort | null;
  onSort: (sort: Sort | null) => void;
}) {
  const active = sort?.key === sortKey ? sort : null;
  const order = active ? (active.descending ? "descending" : "ascending") : "not sorted";
  return (
    <button
      type="button"
      aria-label={`Sort by ${label}: ${order}`}
      onClick={() => onSort(nextSort(sort, sortKey))}
    >
      {label}
      <span aria-hidden="true">{active ? (active.descending ? "▾" : "▴") : ""}</span>
    </button>
  );
}

/** Copies the address of this page with the watchlist in it. */
function ShareButton({ markets }: { markets: Market[] }) {
  const { navigate } = useAppState();
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [isCopied]);
  const share = async () => {
    navigate({ watchlist: markets }, true);
    try {
      await navigator.clipboard.writeText(window.location.href);
      setCopied(true);
    } catch {
      // Without permission the address bar has the link.
    }
  };
  return (
    <>
      <span role="status" className={styles.copied}>
        {isCopied && "Link copied"}
      </span>
      <IconButton
        icon="share"
        label="Share this watchlist as a link"
        onClick={share}
        disabled={markets.length === 0}
      />
    </>
  );
}

/** Sorts again at intervals, since live values change all the time. */
function useSorted(markets: Market[], sort: Sort | null): Market[] {
  const [, setRound] = useState(0);
  const isLive = sort !== null && sort.key !== "market";
  useEffect(() => {
    if (!isLive) return;
    const timer = setInterval(() => setRound((round) => round + 1), SORT_INTERVAL_MS);
    return () => clearInterval(timer);
  }, [isLive]);
  return sortMarkets(markets, sort, (market) => tickerStore(market).get().ticker);
}

function LoadingRows() {
  return (
    <div aria-busy="true">
      {Array.from({ length: 8 }, (_, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the placeholders are equal
        <div key={at} className={styles.loading}>
          <Skeleton width={84} />
          <Skeleton width={64} />
        </div>
      ))}
    </div>
  );
}
