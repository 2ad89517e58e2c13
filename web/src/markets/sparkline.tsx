import { memo, useMemo } from "react";
import { sparklineQuery } from "../api/queries";
import { useQuery } from "../api/query";
import { type Market, sameMarket } from "../model/market";
import styles from "./watchlist.module.css";

const WIDTH = 60;
const HEIGHT = 22;

interface Props {
  market: Market;
  direction: string;
}

/** The closes of the last day. Decoration: the change in percent says the same. */
export const Sparkline = memo(Line, (before, after) => {
  return before.direction === after.direction && sameMarket(before.market, after.market);
});

function Line({ market, direction }: Props) {
  const { data } = useQuery(sparklineQuery(market));
  const path = useMemo(() => (data && data.length > 1 ? sparkPath(data) : null), [data]);
  return (
    <svg
      className={styles.spark}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      width={WIDTH}
      height={HEIGHT}
      aria-hidden="true"
    >
      {path && <path className={direction} d={path} />}
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
