/** A market of one exchange. `symbol` is BASE/QUOTE; of a contract BASE/QUOTE:SETTLE or BASE/QUOTE:SETTLE-EXPIRY. */
export interface Market {
  readonly exchange: string;
  readonly symbol: string;
}

/** Identifies a market in the URL and in the browser's storage: `binance:BTC-USDT`. */
export function marketId({ exchange, symbol }: Market): string {
  return `${exchange}:${symbol.replace("/", "-")}`;
}

/** Parses a market id. Returns null if the text is not one. */
export function parseMarketId(text: string): Market | null {
  const match = /^([a-z0-9_]+):([^:/,\s-]+)[-/]([^/,\s<>"]+)$/.exec(text.trim());
  return match ? { exchange: match[1] as string, symbol: `${match[2]}/${match[3]}` } : null;
}

export function sameMarket(a: Market | null, b: Market | null): boolean {
  return a?.exchange === b?.exchange && a?.symbol === b?.symbol;
}

export function baseOf(symbol: string): string {
  return symbol.split("/", 1)[0] ?? symbol;
}

export function quoteOf(symbol: string): string {
  return afterBase(symbol).split(":", 1)[0] ?? "";
}

/** The symbol without its base asset: `USDT`, or `USDT:USDT` of a contract. */
export function afterBase(symbol: string): string {
  return symbol.slice(baseOf(symbol).length + 1);
}
