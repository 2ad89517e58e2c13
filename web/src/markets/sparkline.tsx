import { sparklineQuery } from "../api/queries";
import { useQuery } from "../api/query";
import type { Market } from "../model/market";
import styles from "./watchlist.module.css";

const WIDTH = 60;
const HEIGHT = 22;

/** The closes of the last day. Decoration: the change in percent says the same. */
export function Sparkline({ market, direction }: { market: Market; direction: string }) {
  const { data } = useQuery(sparklineQuery(market));
  return (
    <svg
      className={styles.spark}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      width={WIDTH}
      height={HEIGHT}
      aria-hidden="true"
    >
      {data && data.length > 1 && <path className={direction} d={sparkPath(data)} />}
    </svg>
  );
}

function sparkPath(values: number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const range = high - low || 1;
  const points = values.map((value, at) => {
    const x = (at / (values.length - 1)) * WIDTH;
    const y = HEIGHT - 2 - ((value - low) / range) * (HEIGHT - 4);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  return `M${points.join("L")}`;
}
