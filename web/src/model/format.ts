/** Number formatting. All text is en-US, as the rest of the page, so that digits align everywhere. */

const MAX_DECIMALS = 12;
const formatters = new Map<string, Intl.NumberFormat>();

function formatter(options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = JSON.stringify(options);
  const known = formatters.get(key);
  if (known) return known;
  const created = new Intl.NumberFormat("en-US", options);
  formatters.set(key, created);
  return created;
}

/** Number of decimals that a value needs: 0.5 needs 1, 1e-7 needs 7. At most 12. */
export function decimalsOf(value: number): number {
  if (!Number.isFinite(value)) return 0;
  const [mantissa = "", exponent = "0"] = value.toString().split("e");
  const digits = mantissa.split(".")[1]?.length ?? 0;
  return Math.min(Math.max(digits - Number(exponent), 0), MAX_DECIMALS);
}

/** Number of decimals of prices: of the price step, or of the largest number of decimals among known prices. */
export function priceDecimals(step: number | null | undefined, prices: (number | null)[] = []): number {
  if (step) return decimalsOf(step);
  return prices.reduce<number>((most, price) => Math.max(most, price === null ? 0 : decimalsOf(price)), 0);
}

/** A price with a fixed number of decimals; `–` if it is unknown. */
export function formatPrice(price: number | null | undefined, decimals: number): string {
  if (price === null || price === undefined) return "–";
  return formatter({ minimumFractionDigits: decimals, maximumFractionDigits: decimals }).format(price);
}

/** An amount in compact form: 1.23M. */
export function formatAmount(amount: number | null | undefined): string {
  if (amount === null || amount === undefined) return "–";
  if (amount !== 0 && Math.abs(amount) < 1000) {
    return formatter({ maximumSignificantDigits: 4 }).format(amount);
  }
  return formatter({ notation: "compact", maximumFractionDigits: 2 }).format(amount);
}

/** A change in percent with its sign: +1.53 %. The sign is a real minus, so that columns align. */
export function formatChange(percent: number | null | undefined): string {
  if (percent === null || percent === undefined) return "–";
  const text = formatter({ minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(Math.abs(percent));
  const sign = Number(text.replaceAll(",", "")) === 0 ? "" : percent > 0 ? "+" : "−";
  return `${sign}${text}%`;
}

/** Direction of a change. */
export function direction(value: number | null | undefined): "up" | "down" | "flat" {
  if (!value) return "flat";
  return value > 0 ? "up" : "down";
}

export function formatCount(count: number): string {
  return formatter({ maximumFractionDigits: 0 }).format(count);
}

export function plural(count: number, singular: string, many = `${singular}s`): string {
  return `${formatCount(count)} ${count === 1 ? singular : many}`;
}

const UNITS: [string, number][] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
];

/** An age in its largest unit: `now` below one second, then `5s`, `3m`, `2h`, `4d`. */
export function formatAge(millis: number): string {
  const unit = UNITS.find(([, length]) => millis >= length);
  return unit ? `${Math.floor(millis / unit[1])}${unit[0]}` : "now";
}

/** A length of time in its two largest units: `2h 5m`. */
export function formatDuration(millis: number): string {
  const first = UNITS.findIndex(([, length]) => millis >= length);
  if (first < 0) return `${Math.max(0, Math.round(millis))}ms`;
  const [unit, length] = UNITS[first] as [string, number];
  const next = UNITS[first + 1];
  const whole = `${Math.floor(millis / length)}${unit}`;
  const rest = next ? Math.floor((millis % length) / next[1]) : 0;
  return rest > 0 && next ? `${whole} ${rest}${next[0]}` : whole;
}
