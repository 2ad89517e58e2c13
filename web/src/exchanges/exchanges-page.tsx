import { exchangesQuery } from "../api/queries";
import { useQuery } from "../api/query";
import type { Exchange } from "../api/types";
import { useAppState } from "../app-state";
import { formatAge, formatDuration, plural } from "../model/format";
import { ErrorNote, Meter, Skeleton, StateBadge } from "../ui/controls";
import page from "../ui/page.module.css";
import { PageFooter } from "../ui/page-footer";
import { useNow } from "../ui/use-now";
import styles from "./exchanges-page.module.css";

/** The exchanges: state, connections and rate limits. */
export default function ExchangesPage() {
  const { data, error, refetch } = useQuery(exchangesQuery);
  return (
    <div className={page.page}>
      <h1 className={page.title}>Exchanges</h1>
      {!data && error && (
        <ErrorNote title="The exchanges could not be loaded" error={error} onRetry={refetch} />
      )}
      {!data && !error && <Loading />}
      {data?.map((exchange) => (
        <ExchangePanel key={exchange.id} exchange={exchange} />
      ))}
      <PageFooter />
    </div>
  );
}

function ExchangePanel({ exchange }: { exchange: Exchange }) {
  const now = useNow();
  const { clock, connections, budgets, ended } = exchange;
  const lag = connections.reduce<number | null>((most, { last_message_ms: ms }) => {
    return ms === null ? most : Math.max(most ?? 0, ms);
  }, null);
  const reconnects = connections.reduce((sum, connection) => sum + connection.reconnects, 0);
  return (
    <section className={page.panel} aria-label={exchange.name}>
      <div className={page.panelHead}>
        <h2>{exchange.name}</h2>
        <StateBadge state={exchange.state} />
        <span className="muted">since {formatAge(now - exchange.since)}</span>
        {exchange.detail && <span className="warn">{exchange.detail}</span>}
      </div>
      <dl className={styles.figures}>
        <Figure label="Markets" value={`${exchange.symbols.length}`} />
        <Figure label="Connections" value={`${connections.length}`} />
        <Figure label="Reconnects" value={`${reconnects}`} />
        <Figure label="Last message" value={lag === null ? "–" : formatDuration(lag)} />
        <Figure
          label="Clock"
          value={clock?.known ? `${signed(clock.offset_ms)} ms ± ${clock.doubt_ms}` : "unknown"}
        />
      </dl>
      <div className={styles.columns}>
        <Connections exchange={exchange} />
        <Budgets budgets={budgets} now={now} />
      </div>
      <Markets exchange={exchange} />
      {ended.length > 0 && (
        <details className={styles.ended} open>
          <summary>{plural(ended.length, "market")} no longer collected</summary>
          <ul>
            {ended.map(({ symbol, detail, since }) => (
              <li key={symbol}>
                <strong>{symbol}</strong> {detail}{" "}
                <span className="muted">({formatAge(now - since)} ago)</span>
              </li>
            ))}
          </ul>
        </details>
      )}
    </section>
  );
}

function Connections({ exchange: { connections } }: { exchange: Exchange }) {
  return (
    <div className={page.tableScroll}>
      <table className={page.table}>
        <thead>
          <tr>
            <th scope="col">Connection</th>
            <th scope="col">State</th>
            <th scope="col" className={page.number}>
              Topics
            </th>
            <th scope="col" className={page.number}>
              Reconnects
            </th>
            <th scope="col" className={page.number}>
              Last message
            </th>
          </tr>
        </thead>
        <tbody>
          {connections.map(({ id, state, topics, reconnects, last_message_ms: ms }) => (
            <tr key={id}>
              <td>{id}</td>
              <td>
                <StateBadge state={state} />
              </td>
              <td className={page.number}>{topics}</td>
              <td className={page.number}>{reconnects}</td>
              <td className={page.number}>{ms === null ? "–" : formatDuration(ms)}</td>
            </tr>
          ))}
          {connections.length === 0 && (
            <tr>
              <td colSpan={5} className="muted">
                No connection is open.
              </td>
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}

function Budgets({ budgets, now }: { budgets: Exchange["budgets"]; now: number }) {
  return (
    <div className={styles.budgets}>
      <h3>Rate limits used</h3>
      {budgets.length === 0 && <p className="muted">No request was sent yet.</p>}
      {budgets.map(({ scope, used, limit, window_ms: window, open_at: openAt }) => (
        <div key={`${scope}${window}`}>
          <div className={styles.budget}>
            <span>
              {scope} <span className="muted">per {formatDuration(window)}</span>
            </span>
            <span>
              {used.toLocaleString("en-US")} <span className="muted">of {limit.toLocaleString("en-US")}</span>
            </span>
          </div>
          <Meter value={used / limit} label={`Rate limit ${scope}, used part`} />
          {openAt !== null && openAt > now && (
            <p className="warn">Blocked by the exchange for {formatDuration(openAt - now)}</p>
          )}
        </div>
      ))}
    </div>
  );
}

function Markets({ exchange: { id, symbols } }: { exchange: Exchange }) {
  const { navigate } = useAppState();
  return (
    <ul className={styles.markets} aria-label="Collected markets">
      {symbols.map((symbol) => (
        <li key={symbol}>
          <button
            type="button"
            onClick={() => navigate({ page: "markets", market: { exchange: id, symbol } })}
          >
            {symbol}
          </button>
        </li>
      ))}
    </ul>
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

function signed(value: number): string {
  return value < 0 ? `−${-value}` : `+${value}`;
}

function Loading() {
  return Array.from({ length: 3 }, (_, at) => (
    // biome-ignore lint/suspicious/noArrayIndexKey: the placeholders are equal
    <div key={at} className={page.panel} aria-busy="true">
      <div className={page.panelHead}>
        <Skeleton width={120} />
        <Skeleton width={60} />
      </div>
      <div className={styles.loading}>
        <Skeleton width="60%" />
        <Skeleton width="40%" />
      </div>
    </div>
  ));
}
