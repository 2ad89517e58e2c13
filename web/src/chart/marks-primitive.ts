/** Draws what the candles do not show: gaps, shaded by their reason, and marks at corrected candles. */

import type {
  IChartApi,
  IPrimitivePaneRenderer,
  IPrimitivePaneView,
  ISeriesApi,
  ISeriesPrimitive,
  SeriesAttachedParameter,
  Time,
} from "lightweight-charts";
import { formatDuration } from "../model/format";
import { gapLabel } from "../model/gap-reason";
import type { ChartColors } from "./theme";

/** A gap as it is drawn: the first and last point without data. */
export interface DrawnGap {
  first: Time;
  last: Time;
  reason: string;
  /** Real length in milliseconds. */
  length: number;
}

/** A corrected candle. */
export interface CorrectedCandle {
  time: Time;
  high: number;
}

/** Distance of the mark of a corrected candle from its high, and its radius, in CSS pixels. */
const MARK_DISTANCE = 8;
const MARK_RADIUS = 2.5;

/** Distance of the hatching lines, in CSS pixels. */
const HATCH = 8;

type Target = Parameters<IPrimitivePaneRenderer["draw"]>[0];

export class MarksPrimitive implements ISeriesPrimitive<Time>, IPrimitivePaneView, IPrimitivePaneRenderer {
  private chart: IChartApi | null = null;
  private requestUpdate: (() => void) | null = null;
  private series: ISeriesApi<"Candlestick"> | null = null;
  private gaps: readonly DrawnGap[] = [];
  private corrected: readonly CorrectedCandle[] = [];

  constructor(private colors: ChartColors) {}

  attached({ chart, series, requestUpdate }: SeriesAttachedParameter<Time>): void {
    this.chart = chart as IChartApi;
    this.series = series as ISeriesApi<"Candlestick">;
    this.requestUpdate = requestUpdate;
  }

  detached(): void {
    this.chart = null;
    this.series = null;
    this.requestUpdate = null;
  }

  update(gaps: readonly DrawnGap[], corrected: readonly CorrectedCandle[], colors: ChartColors): void {
    this.gaps = gaps;
    this.corrected = corrected;
    this.colors = colors;
    this.requestUpdate?.();
  }

  paneViews(): IPrimitivePaneView[] {
    return [this];
  }

  zOrder(): "bottom" {
    return "bottom";
  }

  renderer(): IPrimitivePaneRenderer {
    return this;
  }

  draw(target: Target): void {
    const scale = this.chart?.timeScale();
    if (!scale) return;
    const bar = scale.options().barSpacing;
    // biome-ignore lint/correctness/useHookAtTopLevel: a method of the library
    target.useMediaCoordinateSpace(({ context, mediaSize: { width, height } }) => {
      for (const gap of this.gaps) {
        const [first, last] = [scale.timeToCoordinate(gap.first), scale.timeToCoordinate(gap.last)];
        if (first === null || last === null) continue;
        const [left, right] = [Math.max(first - bar / 2, 0), Math.min(last + bar / 2, width)];
        if (right <= 0 || left >= width || right <= left) continue;
        this.shade(context, gap, left, right - left, height);
      }
      context.fillStyle = this.colors.accent;
      for (const { time, high } of this.corrected) {
        const [x, y] = [scale.timeToCoordinate(time), this.series?.priceToCoordinate(high) ?? null];
        if (x === null || y === null || x < 0 || x > width) continue;
        context.beginPath();
        context.arc(x, y - MARK_DISTANCE, MARK_RADIUS, 0, 2 * Math.PI);
        context.fill();
      }
    });
  }

  private shade(
    context: CanvasRenderingContext2D,
    gap: DrawnGap,
    left: number,
    width: number,
    height: number,
  ): void {
    const color = this.colors.gap[gap.reason] ?? this.colors.text;
    context.save();
    context.beginPath();
    context.rect(left, 0, width, height);
    context.clip();
    context.globalAlpha = 0.1;
    context.fillStyle = color;
    context.fillRect(left, 0, width, height);
    // Reasons differ by their hatching too, not by colour alone: time that is lost is crossed twice.
    context.globalAlpha = 0.28;
    context.strokeStyle = color;
    context.lineWidth = 1;
    context.beginPath();
    const start = left - (left % HATCH) - height;
    for (let x = start; x < left + width; x += HATCH) {
      context.moveTo(x, height);
      context.lineTo(x + height, 0);
      if (gap.reason !== "pending" && gap.reason !== "offline") {
        context.moveTo(x, 0);
        context.lineTo(x + height, height);
      }
    }
    context.stroke();
    context.globalAlpha = 1;
    this.label(context, gap, left, width, color);
    context.restore();
  }

  private label(
    context: CanvasRenderingContext2D,
    gap: DrawnGap,
    left: number,
    width: number,
    color: string,
  ): void {
    const text = `${formatDuration(gap.length)} ${gapLabel(gap.reason)}`;
    context.font = "500 11px system-ui, sans-serif";
    const length = context.measureText(text).width;
    if (length + 12 > width) return;
    const [x, y] = [left + width / 2, 64];
    context.fillStyle = this.colors.background;
    context.fillRect(x - length / 2 - 5, y - 10, length + 10, 20);
    context.fillStyle = color;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(text, x, y);
  }
}
