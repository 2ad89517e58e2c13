import type { KeyboardEvent } from "react";
import type { ChartView } from "./chart-view";

/** Points that Shift and an arrow key scroll. */
const SCROLL = 20;

/**
 * Handles the keys of the chart. Returns the time under the crosshair, null if it is hidden, or undefined if the key
 * does not concern it.
 */
export function handleChartKey(chart: ChartView, event: KeyboardEvent): number | null | undefined {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  const isArrow = event.key === "ArrowLeft" || event.key === "ArrowRight";
  const sign = event.key === "ArrowLeft" ? -1 : 1;
  let time: number | null | undefined;
  if (isArrow && event.shiftKey) chart.scroll(sign * SCROLL);
  else if (isArrow) time = chart.moveCursor(sign);
  else if (event.key === "+" || event.key === "=") chart.zoom(0.8);
  else if (event.key === "-") chart.zoom(1.25);
  else if (event.key === "Home") chart.showOldest();
  else if (event.key === "End") chart.showLatest();
  else if (event.key === "Escape") {
    chart.clearCursor();
    time = null;
  } else return undefined;
  event.preventDefault();
  return time;
}
