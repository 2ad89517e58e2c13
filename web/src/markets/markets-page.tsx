import { lazy, Suspense, useMemo, useState } from "react";
import { baseQuery, exchangesQuery } from "../api/queries";
import { useQuery } from "../api/query";
import { useAppState } from "../app-state";
import { Toolbar } from "../chart/toolbar";
import { baseOf, type Market, marketId, parseMarketId, sameMarket } from "../model/market";
import { addMarket, removeMarket } from "../model/watchlist";
import { Button, EmptyNote, ErrorNote } from "../ui/controls";
import { MarketHead } from "./market-head";
import styles from "./markets-page.module.css";
import { Watchlist } from "./watchlist";

const ChartPanel = lazy(() => import("../chart/chart-panel"));
const SidePanel = lazy(() => import("./side-panel"));

/** The watchlist, and the chart, the trades and the other exchanges of the selected market. */
export function MarketsPage({ onSearch }: { onSearch: () => void }) {
  const { market: chosen, navigate, setWatched } = useAppState();
  const watched = useWatched();
  const exchanges = useQuery(exchangesQuery);
  const market = useSameMarket(chosen ?? watched?.[0] ?? null);
  const select = (next: Market) => navigate({ market: next });

  if (exchanges.error && !exchanges.data) {
    return (
      <ErrorNote
        title="The markets could not be loaded"
        error={exchanges.error}
        onRetry={exchanges.refetch}
      />
    );
  }
  return (
    <div className={styles.page}>
      <section className={styles.list} aria-label="Watchlist">
        <Watchlist markets={watched} selected={market} onSelect={select} onSearch={onSearch} />
      </section>
      {market ? (
        <SelectedMarket
          key={marketId(market)}
          market={market}
          onSelect={select}
          isWatched={watched?.some((other) => sameMarket(other, market)) ?? false}
          onWatch={(add) =>
            setWatched(add ? addMarket(watched ?? [], market) : removeMarket(watched ?? [], market))
          }
        />
      ) : (
        <section className={styles.chart} aria-label="Chart">
          {watched?.length === 0 && (
            <EmptyNote title="No market selected">
              <span>Search over the markets of all exchanges, and add those that you watch.</span>
              <Button primary onClick={onSearch}>
                Search markets
              </Button>
            </EmptyNote>
          )}
        </section>
      )}
    </div>
  );
}

function SelectedMarket({
  market,
  onSelect,
  isWatched,
  onWatch,
}: {
  market: Market;
  onSelect: (market: Market) => void;
  isWatched: boolean;
  onWatch: (add: boolean) => void;
}) {
  const sameBase = useQuery(baseQuery(baseOf(market.symbol)));
  const [isLogarithmic, setLogarithmic] = useState(false);
  const instrument = sameBase.data?.find((other) => sameMarket(other, market)) ?? null;
  return (
    <>
      <section className={styles.chart} aria-label={`Chart of ${market.symbol} on ${market.exchange}`}>
        <MarketHead market={market} instrument={instrument} isWatched={isWatched} onWatch={onWatch} />
        <Toolbar isLogarithmic={isLogarithmic} onLogarithmic={setLogarithmic} />
        <Suspense fallback={<div className={styles.chartSpace} aria-busy="true" />}>
          <ChartPanel
            market={market}
            priceStep={instrument?.price_step ?? null}
            isLogarithmic={isLogarithmic}
          />
        </Suspense>
      </section>
      <div className={styles.side}>
        <Suspense>
          <SidePanel
            market={market}
            instruments={sameBase.data ?? null}
            priceStep={instrument?.price_step ?? null}
            onSelect={onSelect}
          />
        </Suspense>
      </div>
    </>
  );
}

/** The same object as long as the market is the same: what belongs to it, such as the chart, must not start anew. */
function useSameMarket(market: Market | null): Market | null {
  const id = market && marketId(market);
  return useMemo(() => (id === null ? null : parseMarketId(id)), [id]);
}

/** The user's watchlist; without one all markets that are collected now. Null while it is loading. */
export function useWatched(): Market[] | null {
  const { watched } = useAppState();
  const { data } = useQuery(exchangesQuery);
  return useMemo(() => {
    if (watched) return watched;
    return data?.flatMap(({ id, symbols }) => symbols.map((symbol) => ({ exchange: id, symbol }))) ?? null;
  }, [watched, data]);
}
