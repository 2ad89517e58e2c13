import { useMemo, useState } from "react";
import { coverageQuery, exchangesQuery } from "../api/queries";
import { useQuery } from "../api/query";
import type { CoveredRange } from "../api/types";
import { useAppState } from "../app-state";
import { useWatched } from "../markets/markets-page";
import { calendar, holes } from "../model/coverage";
import { formatCount, plural } from "../model/format";
import { candlesBetween, DAY, floorTime, INTERVALS, type Interval, isInterval } from "../model/interval";
import { type Market, marketId, parseMarketId, sameMarket } from "../model/market";
import { formatDate } from "../model/time";
import { stream } from "../stream/live";
import { EmptyNote, ErrorNote, Field, inputClass, Skeleton } from "../ui/controls";
import page from "../ui/page.module.css";
import { PageFooter } from "../ui/page-footer";
import { Backfills, useStartBackfill } from "./backfills";
import styles from "./data-page.module.css";
import { Export } from "./export";
import { Heatmap } from "./heatmap";
import { Holes } from "./holes";

/** Days that are shown if nothing is known yet. */
const DEFAULT_DAYS = 30;

/** What is stored of a series, what is missing, and the backfills that fetch it. */
export default function DataPage() {
  const { market: chosen, interval, navigate } = useAppState();
  const watched = useWatched() ?? [];
  const market = chosen ?? watched[0] ?? null;
  const [since, setSince] = useState<string>("");
  const from = since ? Date.parse(`${since}T00:00:00Z`) : null;
  return (
    <div className={page.page}>
      <h1 className={page.title}>Data</h1>
      <div className={styles.form}>
        <MarketSelect market={market} watched={watched} onSelect={(next) => navigate({ market: next })} />
        <Field label="Interval">
          <select
            className={inputClass}
            value={interval}
            onChange={(event) =>
              isInterval(event.target.value) && navigate({ interval: event.target.value }, true)
            }
          >
            {INTERVALS.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </Field>
        <Field label="Since">
          <input
            className={inputClass}
            type="date"
            min="2009-01-03"
            max={new Date().toISOString().slice(0, 10)}
            value={since}
            onChange={(event) => setSince(event.target.value)}
          />
        </Field>
      </div>
      {market ? (
        <Coverage market={market} interval={interval} from={Number.isNaN(from) ? null : from} />
      ) : (
        <EmptyNote title="No market selected">
          <span>Search for a market with the key / and select it.</span>
        </EmptyNote>
      )}
      <Backfills />
      <PageFooter />
    </div>
  );
}

function MarketSelect({
  market,
  watched,
  onSelect,
}: {
  market: Market | null;
  watched: Market[];
  onSelect: (market: Market) => void;
}) {
  const isOther = market && !watched.some((other) => sameMarket(other, market));
  const markets = isOther ? [market, ...watched] : watched;
  return (
    <Field label="Market">
      <select
        className={inputClass}
        value={market ? marketId(market) : ""}
        onChange={(event) => {
          const next = parseMarketId(event.target.value);
          if (next) onSelect(next);
        }}
      >
        {markets.map((one) => (
          <option key={marketId(one)} value={marketId(one)}>
            {one.symbol} · {one.exchange}
          </option>
        ))}
      </select>
    </Field>
  );
}

function Coverage({ market, interval, from }: { market: Market; interval: Interval; from: number | null }) {
  const coverage = useQuery(coverageQuery(market, interval, from));
  const exchange = useQuery(exchangesQuery).data?.find(({ id }) => id === market.exchange);
  const backfill = useStartBackfill();
  const ranges = coverage.data?.ranges;
  const view = useMemo(() => {
    if (!ranges) return null;
    const end = floorTime(interval, stream.now());
    const start = from ?? firstKnown(ranges) ?? floorTime(interval, end - DEFAULT_DAYS * DAY);
    return { start, end, days: calendar(ranges, start, end), holes: holes(ranges, interval, start, end) };
  }, [ranges, from, interval]);

  if (coverage.error && !coverage.data) {
    return (
      <ErrorNote title="The coverage could not be loaded" error={coverage.error} onRetry={coverage.refetch} />
    );
  }
  if (!view) {
    return (
      <section className={page.panel} aria-busy="true">
        <div className={styles.loading}>
          <Skeleton width="30%" />
          <Skeleton width="100%" />
          <Skeleton width="100%" />
        </div>
      </section>
    );
  }
  const { start, end, days } = view;
  const missing = view.holes.reduce((sum, { candles }) => sum + candles, 0);
  const total = candlesBetween(interval, start, end);
  const startBackfill = (since: number, until: number) =>
    backfill.start({ exchange: market.exchange, symbol: market.symbol, interval, since, until });
  return (
    <>
      <section className={page.panel} aria-label="Coverage">
        <div className={page.panelHead}>
          <h2>
            {market.symbol} · {interval}
          </h2>
          <span className="muted">
            {formatDate("UTC", start)} to {formatDate("UTC", end)}
          </span>
          {exchange?.simulated && <span className="warn">simulated</span>}
        </div>
        <dl className={styles.figures}>
          <Figure label="Known" value={total > 0 ? percent((total - missing) / total) : "–"} />
          <Figure label="Intervals" value={formatCount(total)} />
          <Figure label="Missing" value={formatCount(missing)} />
          <Figure label="Holes" value={formatCount(view.holes.length)} />
        </dl>
        <Heatmap days={days} />
        {coverage.data?.isCut && (
          <p className={`${styles.cut} warn`}>
            The ledger has more ranges than this page loads: choose a later “since”.
          </p>
        )}
      </section>
      <section className={page.panel} aria-label="Holes">
        <div className={page.panelHead}>
          <h2>Holes</h2>
          <span className="muted">{plural(view.holes.length, "range")} without candles</span>
        </div>
        {backfill.error !== null && <ErrorNote title="The backfill was not started" error={backfill.error} />}
        <Holes
          holes={view.holes}
          interval={interval}
          isStarting={backfill.isPending}
          onBackfill={({ start, end }) => startBackfill(start, end)}
          onBackfillAll={() => startBackfill(start, end)}
        />
      </section>
      <Export market={market} interval={interval} start={start} end={end} candles={total - missing} />
    </>
  );
}

function Figure({ label, value }: { label: string; value: string }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** Start of the first range with candles: a range that is empty since the epoch is the time before the listing. */
function firstKnown(ranges: readonly CoveredRange[]): number | null {
  const first = ranges.find(({ state }) => state !== "empty") ?? ranges[0];
  return first?.start ?? null;
}

/** Rounded down, so that 100 % means that nothing is missing. */
function percent(part: number): string {
  return `${(Math.floor(part * 10_000) / 100).toFixed(2)}%`;
}
