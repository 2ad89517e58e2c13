import { type KeyboardEvent, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { get } from "../api/client";
import type { History } from "../api/types";
import { useAppState } from "../app-state";
import { candlesToCsv, download } from "../model/csv";
import { priceDecimals } from "../model/format";
import type { Interval } from "../model/interval";
import { type Market, marketId } from "../model/market";
import { painter, stream } from "../stream/live";
import { EmptyNote, ErrorNote, IconButton } from "../ui/controls";
import { useTheme } from "../ui/theme";
import { ChartFeed, type FeedChange, type HistoryParams } from "./chart-feed";
import styles from "./chart-panel.module.css";
import { ChartView } from "./chart-view";
import { handleChartKey } from "./keys";
import { Readout } from "./readout";
import { chartColors } from "./theme";

interface Props {
  market: Market;
  priceStep: number | null;
  isLogarithmic: boolean;
}

/** The chart of a market. */
export default function ChartPanel({ market, priceStep, isLogarithmic }: Props) {
  const { interval, zone } = useAppState();
  const feed = useFeed(market, interval);
  return (
    <Chart
      key={interval}
      feed={feed}
      market={market}
      interval={interval}
      zone={zone}
      isLogarithmic={isLogarithmic}
      priceStep={priceStep}
    />
  );
}

function fetchHistory({ exchange, symbol }: Market) {
  return async (params: HistoryParams): Promise<History> => {
    return (await get("/v1/history", { exchange, symbol, ...params })) as History;
  };
}

function useFeed(market: Market, interval: Interval): ChartFeed {
  const feed = useMemo(
    () => new ChartFeed({ market, interval, stream, fetchHistory: fetchHistory(market) }),
    [market, interval],
  );
  useEffect(() => {
    feed.start();
    return () => feed.close();
  }, [feed]);
  return feed;
}

/** Renders again when the feed changes, at most five times per second. */
function useFeedVersion(feed: ChartFeed): number {
  const version = useRef(0);
  const subscribe = useMemo(() => {
    return (listener: () => void) =>
      feed.onChange(() => {
        version.current++;
        painter.schedule(listener);
      });
  }, [feed]);
  return useSyncExternalStore(subscribe, () => version.current);
}

interface ChartProps {
  feed: ChartFeed;
  market: Market;
  interval: Interval;
  zone: string;
  isLogarithmic: boolean;
  priceStep: number | null;
}

function Chart({ feed, market, interval, zone, isLogarithmic, priceStep }: ChartProps) {
  const container = useRef<HTMLDivElement>(null);
  const view = useRef<ChartView | null>(null);
  const [time, setTime] = useState<number | null>(null);
  const [isAtEnd, setAtEnd] = useState(true);
  const { resolved: theme } = useTheme();
  useFeedVersion(feed);
  const { candles } = feed.series;
  const recent = candles.slice(-50);
  const decimals = priceDecimals(
    priceStep,
    recent.flatMap(({ high, low, close }) => [high, low, close]),
  );
  const options = useMemo(
    () => ({ interval, zone, decimals, isLogarithmic }),
    [interval, zone, decimals, isLogarithmic],
  );
  const isReady = feed.phase === "ready" || candles.length > 0;

  // biome-ignore lint/correctness/useExhaustiveDependencies: options and colours are updated below
  useEffect(() => {
    const element = container.current;
    if (!element) return;
    const created = new ChartView(element, feed, options, chartColors(element), setTime, setAtEnd);
    view.current = created;
    created.setData();
    // All changes until the next paint are drawn together.
    let pending: FeedChange = "last";
    const draw = () => {
      if (view.current !== created) return;
      if (pending === "all") created.setData();
      else created.updateLast();
      pending = "last";
    };
    const stop = feed.onChange((change) => {
      if (change === "all") pending = "all";
      painter.schedule(draw);
    });
    return () => {
      stop();
      view.current = null;
      created.remove();
    };
  }, [feed]);

  useEffect(() => view.current?.setOptions(options), [options]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the colours depend on the theme
  useEffect(() => {
    if (container.current) view.current?.setColors(chartColors(container.current));
  }, [theme]);

  const onKeyDown = (event: KeyboardEvent) => {
    const next = view.current ? handleChartKey(view.current, event) : undefined;
    if (next !== undefined) setTime(next);
  };

  const saveCsv = () => {
    const visible = view.current?.visibleCandles() ?? [];
    const name = `${marketId(market).replace(":", "-")}-${interval}.csv`;
    download(name, new Blob([candlesToCsv(visible)], { type: "text/csv" }));
  };

  const isEmpty = feed.phase === "ready" && candles.length === 0 && feed.series.gaps.length === 0;
  return (
    <div className={styles.area}>
      {/* biome-ignore lint/a11y/useSemanticElements: a chart is no fieldset */}
      <div
        ref={container}
        className={styles.chart}
        role="group"
        aria-label={`Candles of ${market.symbol}, ${interval}. Arrow keys move the crosshair, Shift and arrow keys scroll, plus and minus zoom, Home and End show the oldest and latest candle.`}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the chart handles keys
        tabIndex={0}
        onKeyDown={onKeyDown}
        data-candles={candles.length}
        data-gaps={feed.series.gaps.length}
      />
      {isReady && !isEmpty && (
        <Readout feed={feed} time={time} interval={interval} zone={zone} decimals={decimals} />
      )}
      {feed.phase === "loading" && candles.length === 0 && <LoadingChart />}
      {feed.phase === "failed" && candles.length === 0 && (
        <div className={styles.cover}>
          <ErrorNote title="The candles could not be loaded" error={feed.error} onRetry={() => feed.load()} />
        </div>
      )}
      {isEmpty && (
        <div className={styles.cover}>
          <EmptyNote title="No candles">
            <span>This market has no trades yet in this interval.</span>
          </EmptyNote>
        </div>
      )}
      <div className={styles.corner}>
        {feed.isLoadingOlder && <span role="status">Loading older candles</span>}
        {feed.series.isFull && !isAtEnd && (
          <span>20,000 candles: choose a longer interval for older ones</span>
        )}
        {!isAtEnd && (
          <IconButton
            icon="latest"
            label="Show the latest candle"
            onClick={() => view.current?.showLatest()}
          />
        )}
        <IconButton
          icon="download"
          label="Download the visible candles as CSV"
          onClick={saveCsv}
          disabled={candles.length === 0}
        />
      </div>
      <a
        className={styles.attribution}
        href="https://www.tradingview.com/"
        target="_blank"
        rel="noreferrer"
        title="TradingView Lightweight Charts™, Copyright (с) 2025 TradingView, Inc."
      >
        Charts by TradingView
      </a>
    </div>
  );
}

function LoadingChart() {
  return (
    <div className={styles.skeleton} aria-busy="true">
      <span className="visually-hidden" role="status">
        Loading candles
      </span>
      {Array.from({ length: 32 }, (_, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the placeholders have no identity
        <span key={at} style={{ height: `${28 + 22 * Math.sin(at / 3.1) + 8 * Math.sin(at * 1.7)}%` }} />
      ))}
    </div>
  );
}
