/** The chart itself: the library's objects, and their updates from a feed. */

import {
  CandlestickSeries,
  type ColorType,
  type CrosshairMode,
  createChart,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type LineStyle,
  type PriceScaleMode,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import type { Candle } from "../api/types";
import type { ChartPoint } from "../model/candle-series";
import { formatPrice } from "../model/format";
import type { Interval } from "../model/interval";
import { formatOpenTime, formatTick, type TimeZone } from "../model/time";
import type { ChartFeed } from "./chart-feed";
import { type DrawnGap, MarksPrimitive } from "./marks-primitive";
import type { ChartColors } from "./theme";

// Values of the library's enumerations: as constants they add nothing to the size of the page.
const CROSSHAIR_FREE = 0 as CrosshairMode.Normal;
const LINE_DASHED = 2 as LineStyle.Dashed;
const SCALE_NORMAL = 0 as PriceScaleMode.Normal;
const SCALE_LOGARITHMIC = 1 as PriceScaleMode.Logarithmic;

/** Older candles are loaded when fewer than this many are left of the visible ones. */
const LOAD_AHEAD = 300;

/** Number of candles that are visible at first, per pixel of width. */
const CANDLES_PER_PIXEL = 1 / 8;

export interface ViewOptions {
  interval: Interval;
  zone: TimeZone;
  decimals: number;
  isLogarithmic: boolean;
}

const toTime = (millis: number) => (millis / 1000) as UTCTimestamp;
const toMillis = (time: Time) => (time as number) * 1000;

export class ChartView {
  private readonly chart: IChartApi;
  private readonly candles: ISeriesApi<"Candlestick">;
  private readonly volume: ISeriesApi<"Histogram">;
  private readonly marks: MarksPrimitive;
  private points: ChartPoint[] = [];
  /** The point under the keyboard's crosshair. */
  private cursor: number | null = null;

  constructor(
    private readonly container: HTMLElement,
    private readonly feed: ChartFeed,
    options: ViewOptions,
    private colors: ChartColors,
    onCrosshair: (time: number | null) => void,
    private readonly onRange: (isAtEnd: boolean) => void,
  ) {
    this.chart = createChart(container, {
      autoSize: true,
      // The logo would need an inline style sheet, which the content security policy forbids: the page has a link.
      layout: { attributionLogo: false, fontFamily: "system-ui, sans-serif", fontSize: 11 },
      crosshair: { mode: CROSSHAIR_FREE },
      rightPriceScale: { scaleMargins: { top: container.clientWidth < 500 ? 0.26 : 0.14, bottom: 0.22 } },
      timeScale: { timeVisible: true, rightOffset: 6, minBarSpacing: 0.4 },
    });
    this.candles = this.chart.addSeries(CandlestickSeries, { borderVisible: true });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      priceLineVisible: false,
      lastValueVisible: false,
    });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.marks = new MarksPrimitive(colors);
    this.candles.attachPrimitive(this.marks);
    this.setOptions(options);
    this.setColors(colors);
    this.chart.subscribeCrosshairMove(({ time }) => onCrosshair(time === undefined ? null : toMillis(time)));
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (!range) return;
      this.onRange(range.to >= this.points.length - 1);
      if (range.from < LOAD_AHEAD && this.points.length > 0) this.feed.loadOlder();
    });
  }

  remove(): void {
    this.chart.remove();
  }

  setOptions(options: ViewOptions): void {
    const { interval, zone, decimals, isLogarithmic } = options;
    this.chart.applyOptions({
      localization: {
        timeFormatter: (time: Time) => formatOpenTime(interval, zone, toMillis(time)),
        priceFormatter: (price: number) => formatPrice(price, decimals),
      },
      timeScale: { tickMarkFormatter: (time: Time) => formatTick(interval, zone, toMillis(time)) },
      rightPriceScale: { mode: isLogarithmic ? SCALE_LOGARITHMIC : SCALE_NORMAL },
    });
    this.candles.applyOptions({
      priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals },
    });
  }

  setColors(colors: ChartColors): void {
    this.colors = colors;
    const crosshair = {
      color: colors.crosshair,
      labelBackgroundColor: colors.accent,
      style: LINE_DASHED,
    };
    this.chart.applyOptions({
      layout: {
        background: { type: "solid" as ColorType.Solid, color: colors.background },
        textColor: colors.text,
      },
      grid: { vertLines: { color: colors.grid }, horzLines: { color: colors.grid } },
      crosshair: { vertLine: crosshair, horzLine: crosshair },
      rightPriceScale: { borderColor: colors.border },
      timeScale: { borderColor: colors.border },
    });
    this.candles.applyOptions({
      // Rising candles are hollow: the direction is visible without colours.
      upColor: colors.background,
      borderUpColor: colors.up,
      wickUpColor: colors.up,
      downColor: colors.down,
      borderDownColor: colors.down,
      wickDownColor: colors.down,
    });
    this.setData();
  }

  /** Draws all points of the feed. The visible time stays in place. */
  setData(): void {
    const wasEmpty = this.points.length === 0;
    const { series } = this.feed;
    this.points = series.points();
    this.candles.setData(
      this.points.map(({ time, candle }) => (candle ? this.bar(candle) : { time: toTime(time) })),
    );
    this.volume.setData(
      this.points.map(({ time, candle }) => (candle ? this.volumeBar(candle) : { time: toTime(time) })),
    );
    const corrected = series.corrected().map(({ timestamp, high }) => ({ time: toTime(timestamp), high }));
    this.marks.update(this.drawnGaps(), corrected, this.colors);
    this.colorPrice();
    if (wasEmpty && this.points.length > 0) this.showLatest();
  }

  /** Draws the last candle. */
  updateLast(): void {
    const candle = this.feed.series.candles.at(-1);
    const last = this.points.at(-1);
    if (!candle || (last && candle.timestamp < last.time)) return;
    const point = { time: candle.timestamp, candle };
    if (last?.time === candle.timestamp) this.points[this.points.length - 1] = point;
    else this.points.push(point);
    this.candles.update(this.bar(candle));
    this.volume.update(this.volumeBar(candle));
    this.colorPrice();
  }

  showLatest(): void {
    const count = Math.max(30, Math.round(this.container.clientWidth * CANDLES_PER_PIXEL));
    const end = this.points.length + 4;
    this.chart.timeScale().setVisibleLogicalRange({ from: end - count, to: end });
  }

  /** Candles that are visible, ascending. */
  visibleCandles(): Candle[] {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (!range) return [];
    const points = this.points.slice(
      Math.max(0, Math.ceil(range.from)),
      Math.max(0, Math.floor(range.to) + 1),
    );
    return points.flatMap(({ candle }) => candle ?? []);
  }

  /** Moves the crosshair by points; returns its time. */
  moveCursor(by: number): number | null {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (!range || this.points.length === 0) return null;
    const start = this.cursor ?? Math.min(Math.floor(range.to), this.points.length - 1) + (by < 0 ? 1 : 0);
    const cursor = Math.min(Math.max(start + by, 0), this.points.length - 1);
    this.cursor = cursor;
    if (cursor < range.from) this.scroll(cursor - range.from - 1);
    else if (cursor > range.to) this.scroll(cursor - range.to + 1);
    const { time, candle } = this.points[cursor] as ChartPoint;
    if (candle) this.chart.setCrosshairPosition(candle.close, toTime(time), this.candles);
    else this.chart.clearCrosshairPosition();
    return time;
  }

  clearCursor(): void {
    this.cursor = null;
    this.chart.clearCrosshairPosition();
  }

  /** Moves the visible range by points. */
  scroll(by: number): void {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (range) this.chart.timeScale().setVisibleLogicalRange({ from: range.from + by, to: range.to + by });
  }

  /** Multiplies the number of visible points; the right edge stays in place. */
  zoom(factor: number): void {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (!range) return;
    const length = Math.min(Math.max((range.to - range.from) * factor, 10), 20_000);
    this.chart.timeScale().setVisibleLogicalRange({ from: range.to - length, to: range.to });
  }

  /** Shows the oldest loaded candles. */
  showOldest(): void {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (range) this.scroll(-range.from);
  }

  /** The line and the label of the latest price have its direction's colour. */
  private colorPrice(): void {
    const last = this.feed.series.candles.at(-1);
    if (!last) return;
    const priceLineColor = last.close >= last.open ? this.colors.up : this.colors.down;
    if (this.candles.options().priceLineColor !== priceLineColor)
      this.candles.applyOptions({ priceLineColor });
  }

  private bar(candle: Candle) {
    const { timestamp, open, high, low, close } = candle;
    return { time: toTime(timestamp), open, high, low, close };
  }

  private volumeBar(candle: Candle) {
    const color = candle.close >= candle.open ? this.colors.upVolume : this.colors.downVolume;
    return { time: toTime(candle.timestamp), value: candle.volume, color };
  }

  /** The gaps that have points, with their first and last one. */
  private drawnGaps(): DrawnGap[] {
    const drawn: DrawnGap[] = [];
    let at = 0;
    for (const { start, end, reason } of this.feed.series.gaps) {
      while (at < this.points.length && (this.points[at] as ChartPoint).time < start) at++;
      let last: number | null = null;
      const first = this.points[at]?.time;
      for (; at < this.points.length; at++) {
        const { time, candle } = this.points[at] as ChartPoint;
        if (candle || time >= end) break;
        last = time;
      }
      if (first !== undefined && last !== null) {
        drawn.push({ first: toTime(first), last: toTime(last), reason, length: end - start });
      }
    }
    return drawn;
  }
}
