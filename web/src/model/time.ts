/** Time zones and the formatting of times. All times are Unix milliseconds. */

import { DAY, type Interval, intervalLength } from "./interval";

/** `UTC`, `local` (the zone of the browser) or an IANA name such as `America/New_York`. */
export type TimeZone = string;

/** Zones offered in the menu, besides UTC and the zone of the browser. */
export const OFFERED_ZONES = [
  "America/New_York",
  "America/Chicago",
  "America/Sao_Paulo",
  "Europe/London",
  "Europe/Berlin",
  "Asia/Dubai",
  "Asia/Kolkata",
  "Asia/Singapore",
  "Asia/Tokyo",
  "Australia/Sydney",
];

const formatters = new Map<string, Intl.DateTimeFormat>();

/** Whether the browser knows the zone. */
export function isTimeZone(zone: string): boolean {
  if (zone === "local") return true;
  try {
    new Intl.DateTimeFormat("en-US", { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}

function parts(zone: TimeZone, at: number): Record<string, string> {
  let formatter = formatters.get(zone);
  if (!formatter) {
    formatter = new Intl.DateTimeFormat("en-GB", {
      ...(zone === "local" ? {} : { timeZone: zone }),
      year: "numeric",
      month: "short",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
      hourCycle: "h23",
    });
    formatters.set(zone, formatter);
  }
  const found: Record<string, string> = {};
  for (const { type, value } of formatter.formatToParts(at)) found[type] = value;
  // Some browsers abbreviate September with four letters.
  found.month = (found.month ?? "").slice(0, 3);
  return found;
}

/** `21 Nov 2026` */
export function formatDate(zone: TimeZone, at: number): string {
  const { day, month, year } = parts(zone, at);
  return `${day} ${month} ${year}`;
}

/** `14:05` or `14:05:09` */
export function formatClock(zone: TimeZone, at: number, seconds = false): string {
  const { hour, minute, second } = parts(zone, at);
  return seconds ? `${hour}:${minute}:${second}` : `${hour}:${minute}`;
}

/** `21 Nov 2026 14:05` */
export function formatDateTime(zone: TimeZone, at: number): string {
  return `${formatDate(zone, at)} ${formatClock(zone, at)}`;
}

/** The open time of a candle: without the time of day for days and longer, whose grid is UTC. */
export function formatOpenTime(interval: Interval, zone: TimeZone, at: number): string {
  return intervalLength(interval) >= DAY ? formatDate("UTC", at) : formatDateTime(zone, at);
}

/** The label of a tick mark on the time axis: the largest unit that starts at this time in the zone. */
export function formatTick(interval: Interval, zone: TimeZone, at: number): string {
  const isDaily = intervalLength(interval) >= DAY;
  const { day, month, year, hour, minute } = parts(isDaily ? "UTC" : zone, at);
  if (!isDaily && (hour !== "00" || minute !== "00")) return `${hour}:${minute}`;
  if (day !== "01") return `${Number(day)} ${month}`;
  return month === "Jan" ? `${year}` : `${month}`;
}

/** The short name of a zone at a time: `UTC`, `GMT+1`. */
export function zoneName(zone: TimeZone, at: number): string {
  if (zone === "UTC") return "UTC";
  const options: Intl.DateTimeFormatOptions = {
    timeZoneName: "short",
    ...(zone === "local" ? {} : { timeZone: zone }),
  };
  const found = new Intl.DateTimeFormat("en-US", options).formatToParts(at);
  return found.find(({ type }) => type === "timeZoneName")?.value ?? zone;
}
