import { useState } from "react";
import type { Hole } from "../model/coverage";
import { formatCount, formatDuration } from "../model/format";
import { gapExplanation } from "../model/gap-reason";
import type { Interval } from "../model/interval";
import { formatOpenTime } from "../model/time";
import { Button } from "../ui/controls";
import page from "../ui/page.module.css";
import styles from "./data-page.module.css";

/** Rows that are shown at first, and that each click adds. */
const PAGE = 20;

interface Props {
  holes: readonly Hole[];
  interval: Interval;
  isStarting: boolean;
  onBackfill: (hole: Hole) => void;
  onBackfillAll: () => void;
}

/** Ranges without candles, newest first. What is unknown can be fetched. */
export function Holes({ holes, interval, isStarting, onBackfill, onBackfillAll }: Props) {
  const [count, setCount] = useState(PAGE);
  const fetchable = holes.filter(({ state }) => state === "unknown");
  if (holes.length === 0) {
    return <p className={`${styles.fill} muted`}>Nothing is missing in this range.</p>;
  }
  return (
    <>
      {fetchable.length > 1 && (
        <p className={styles.fill}>
          <Button primary disabled={isStarting} onClick={onBackfillAll}>
            Fetch all that is missing
          </Button>
        </p>
      )}
      <div className={page.tableScroll}>
        <table className={page.table}>
          <thead>
            <tr>
              <th scope="col">From (UTC)</th>
              <th scope="col">To (UTC)</th>
              <th scope="col" className={page.number}>
                Length
              </th>
              <th scope="col" className={page.number}>
                Intervals
              </th>
              <th scope="col">Why</th>
              <th scope="col">
                <span className="visually-hidden">Action</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {holes.slice(0, count).map((hole) => (
              <tr key={hole.start}>
                <td>{formatOpenTime(interval, "UTC", hole.start)}</td>
                <td>{formatOpenTime(interval, "UTC", hole.end)}</td>
                <td className={page.number}>{formatDuration(hole.end - hole.start)}</td>
                <td className={page.number}>{formatCount(hole.candles)}</td>
                <td className="muted">
                  {hole.state === "unknown" ? "Not fetched yet." : gapExplanation(hole.state)}
                </td>
                <td className={page.number}>
                  {hole.state === "unknown" && (
                    <Button disabled={isStarting} onClick={() => onBackfill(hole)}>
                      Backfill
                    </Button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {holes.length > count && (
        <p className={styles.fill}>
          <Button onClick={() => setCount(count + PAGE)}>Show more of {formatCount(holes.length)}</Button>
        </p>
      )}
    </>
  );
}
