import { useEffect, useRef } from "react";
import { post } from "../api/client";
import { backfillsQuery } from "../api/queries";
import { invalidate, useMutation, useQuery } from "../api/query";
import type { Backfill } from "../api/types";
import { formatDate } from "../model/time";
import { ErrorNote, Meter, Skeleton, StateBadge } from "../ui/controls";
import page from "../ui/page.module.css";
import styles from "./data-page.module.css";

/** The latest backfills with their progress. */
export function Backfills() {
  const { data: backfills, error, refetch } = useQuery(backfillsQuery);
  useCoverageUpdates(backfills);
  return (
    <section className={page.panel} aria-label="Backfills">
      <div className={page.panelHead}>
        <h2>Backfills</h2>
      </div>
      {!backfills && error && (
        <ErrorNote title="The backfills could not be loaded" error={error} onRetry={refetch} />
      )}
      {!backfills && !error && (
        <div className={styles.loading}>
          <Skeleton width="50%" />
        </div>
      )}
      {backfills?.length === 0 && (
        <p className={`${styles.fill} muted`}>
          No backfill yet. Start one for a hole, or for a range that you choose.
        </p>
      )}
      {backfills && backfills.length > 0 && (
        <div className={page.tableScroll}>
          <table className={page.table}>
            <thead>
              <tr>
                <th scope="col">Market</th>
                <th scope="col">Interval</th>
                <th scope="col">Range (UTC)</th>
                <th scope="col">Known</th>
                <th scope="col">State</th>
              </tr>
            </thead>
            <tbody>
              {backfills.map((backfill) => (
                <Row key={backfill.id} backfill={backfill} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Row({ backfill }: { backfill: Backfill }) {
  const { exchange, symbol, interval, start, end, state, detail, complete } = backfill;
  const part = backfill.total_ms > 0 ? backfill.known_ms / backfill.total_ms : 1;
  return (
    <tr>
      <td>
        <strong>{symbol}</strong> <span className="muted">{exchange}</span>
      </td>
      <td>{interval}</td>
      <td>
        {formatDate("UTC", start)} to {formatDate("UTC", end)}
      </td>
      <td>
        <div className={styles.progress}>
          <Meter value={part} label={`Known part of ${symbol} on ${exchange}`} />
          {Math.floor(part * 100)}%
        </div>
      </td>
      <td>
        <span className={styles.state}>
          <StateBadge state={state} />
          <span className="muted">
            {detail ?? (state === "done" && !complete ? "The exchange does not provide the rest." : "")}
          </span>
        </span>
      </td>
    </tr>
  );
}

/** Loads the coverage again while backfills proceed. */
function useCoverageUpdates(backfills: Backfill[] | undefined) {
  const known = backfills?.reduce((sum, { known_ms: ms }) => sum + ms, 0);
  const before = useRef(known);
  useEffect(() => {
    if (before.current !== undefined && known !== before.current) {
      invalidate("coverage");
    }
    before.current = known;
  }, [known]);
}

export interface BackfillRange {
  exchange: string;
  symbol: string;
  interval: string;
  since: number;
  until: number;
}

export function useStartBackfill() {
  return useMutation(async (range: BackfillRange) => {
    await post("/v1/backfills", range);
    invalidate("backfills");
  });
}
