/** A market of one exchange. `symbol` is BASE/QUOTE. */
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
  const match = /^([a-z0-9_]+):([^:/,\s]+)-([^:/,\s-]+)$/.exec(text.trim());
  return match ? { exchange: match[1] as string, symbol: `${match[2]}/${match[3]}` } : null;
}

export function sameMarket(a: Market | null, b: Market | null): boolean {
  return a?.exchange === b?.exchange && a?.symbol === b?.symbol;
}

export function baseOf(symbol: string): string {
  return symbol.slice(0, symbol.lastIndexOf("/"));
}

export function quoteOf(symbol: string): string {
  return symbol.slice(symbol.lastIndexOf("/") + 1);
}
