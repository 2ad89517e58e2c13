import { type KeyboardEvent, useMemo, useState } from "react";
import { type Day, dayLevel, type Level } from "../model/coverage";
import { DAY } from "../model/interval";
import { formatDate } from "../model/time";
import styles from "./heatmap.module.css";

const CELL = 11;
const STEP = 13;
const LEFT = 30;
const TOP = 16;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const LEVELS: Record<Level, string> = {
  complete: "complete",
  mostly: "at least 90 %",
  partly: "partly known",
  unknown: "unknown",
  unavailable: "not provided",
};

const STATES: Record<string, string> = {
  observed: "observed on the stream",
  fetched: "fetched",
  derived: "derived from shorter candles",
  empty: "without trades",
  unavailable: "not provided by the exchange",
  invalid: "invalid at the exchange",
  off_grid: "off the grid",
  unknown: "unknown",
};

/** The coverage of each day as a calendar: one row of weeks per year. */
export function Heatmap({ days }: { days: readonly Day[] }) {
  const [active, setActive] = useState<number | null>(null);
  const years = useMemo(() => byYear(days), [days]);
  const shown = active === null ? null : (days[active] ?? null);

  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7 };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    setActive(Math.min(Math.max((active ?? days.length) + step, 0), days.length - 1));
  };

  return (
    <div className={styles.heatmap}>
      {/* biome-ignore lint/a11y/useSemanticElements: a picture that handles keys */}
      <div
        className={styles.years}
        role="group"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: arrow keys move over the days
        tabIndex={0}
        aria-label={`Coverage of ${days.length} days. Arrow keys move over the days.`}
        onKeyDown={onKeyDown}
        onMouseLeave={() => setActive(null)}
      >
        {years.map(({ year, cells }) => (
          // biome-ignore lint/a11y/useKeyWithMouseEvents: the group handles the keys
          <svg
            key={year}
            viewBox={`0 0 ${LEFT + 54 * STEP} ${TOP + 7 * STEP}`}
            aria-hidden="true"
            onMouseOver={(event) => {
              const index = (event.target as SVGElement).dataset.index;
              if (index !== undefined) setActive(Number(index));
            }}
          >
            <text x={0} y={TOP + 4 * STEP}>
              {year}
            </text>
            {MONTHS.map((month, at) => (
              <text key={month} x={LEFT + Math.ceil(dayOfYear(year, at) / 7) * STEP} y={10}>
                {month}
              </text>
            ))}
            {allDays(year).map(({ week, weekday }) => (
              <rect
                key={week * 7 + weekday}
                className={styles.outside}
                x={LEFT + week * STEP}
                y={TOP + weekday * STEP}
                width={CELL}
                height={CELL}
                rx={2}
              />
            ))}
            {cells.map(({ index, week, weekday, level }) => (
              <rect
                key={index}
                data-index={index}
                className={`${styles[level]} ${index === active ? styles.active : ""}`}
                x={LEFT + week * STEP}
                y={TOP + weekday * STEP}
                width={CELL}
                height={CELL}
                rx={2}
              />
            ))}
          </svg>
        ))}
      </div>
      <div className={styles.foot}>
        <span className={styles.day} role="status">
          {shown ? describe(shown) : "Point at a day for its details."}
        </span>
        <ul className={styles.legend}>
          {(Object.keys(LEVELS) as Level[]).map((level) => (
            <li key={level}>
              <svg width={CELL} height={CELL} aria-hidden="true">
                <rect className={styles[level]} width={CELL} height={CELL} rx={2} />
              </svg>
              {LEVELS[level]}
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}

/** The place of a day in the calendar of its year. */
interface Place {
  week: number;
  /** Monday is 0. */
  weekday: number;
}

interface Cell extends Place {
  index: number;
  level: Level;
}

function placeOf(date: Date): Place {
  const day = dayOfYear(date.getUTCFullYear(), date.getUTCMonth()) + date.getUTCDate() - 1;
  return { week: Math.floor(day / 7), weekday: day % 7 };
}

/** The places of all days of a year: those outside of the range are drawn as a background. */
function allDays(year: number): Place[] {
  const [first, end] = [Date.UTC(year, 0, 1), Date.UTC(year + 1, 0, 1)];
  return Array.from({ length: (end - first) / DAY }, (_, at) => placeOf(new Date(first + at * DAY)));
}

/** The days of each year, newest first. */
function byYear(days: readonly Day[]): { year: number; cells: Cell[] }[] {
  const years = new Map<number, Cell[]>();
  days.forEach((day, index) => {
    const date = new Date(day.start);
    const year = date.getUTCFullYear();
    const cells = years.get(year) ?? [];
    cells.push({ index, ...placeOf(date), level: dayLevel(day) });
    years.set(year, cells);
  });
  return [...years].map(([year, cells]) => ({ year, cells })).reverse();
}

/** Days from the Monday of the year's first week to the first day of a month. */
function dayOfYear(year: number, month: number): number {
  const offset = (new Date(Date.UTC(year, 0, 1)).getUTCDay() + 6) % 7;
  return offset + (Date.UTC(year, month, 1) - Date.UTC(year, 0, 1)) / DAY;
}

function describe(day: Day): string {
  const parts = Object.entries(day.states)
    .sort(([, a], [, b]) => b - a)
    .map(([state, length]) => `${Math.round((length / day.length) * 1000) / 10}% ${STATES[state] ?? state}`);
  return `${formatDate("UTC", day.start)}: ${parts.join(", ")}`;
}
