import type { Candle } from "../api/types";

const COLUMNS = [
  "timestamp",
  "open",
  "high",
  "low",
  "close",
  "volume",
  "quote_volume",
  "trades",
  "closed",
  "revision",
];

/** Candles as CSV, with the columns of `/v1/history?format=csv`. */
export function candlesToCsv(candles: readonly Candle[]): string {
  const rows = candles.map((candle) =>
    COLUMNS.map((column) => candle[column as keyof Candle] ?? "").join(","),
  );
  return `${[COLUMNS.join(","), ...rows].join("\n")}\n`;
}

/** Offers a file for download. */
export function download(name: string, data: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(data);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
