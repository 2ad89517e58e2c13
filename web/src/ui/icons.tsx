/** Icons, drawn with the colour of the text. */

const PATHS = {
  search: "M11 11l3.5 3.5M12.5 7.25a5.25 5.25 0 1 1-10.5 0 5.25 5.25 0 0 1 10.5 0z",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1",
  moon: "M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7z",
  system: "M2 3h12v8H2zM5.5 14h5M8 11v3",
  key: "M9.5 6.5L14 2M12 4l2 2M10.5 5.5l1.5 1.5M6.5 14a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z",
  star: "M8 2l1.8 3.8 4.2.5-3.1 2.9.8 4.1L8 11.3l-3.7 2 .8-4.1L2 6.3l4.2-.5z",
  close: "M4 4l8 8M12 4l-8 8",
  share:
    "M10.5 5.5l-5 2M5.5 8.5l5 2M12 6a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM4 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM12 14a2 2 0 1 0 0-4 2 2 0 0 0 0 4z",
  download: "M8 2v8M4.5 7L8 10.5 11.5 7M2.5 13.5h11",
  latest: "M3 4l4 4-4 4M8 4l4 4-4 4M14 3.5v9",
  plus: "M8 3v10M3 8h10",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, filled = false }: { name: IconName; filled?: boolean }) {
  return (
    <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path
        d={PATHS[name]}
        fill={filled ? "currentColor" : "none"}
        stroke="currentColor"
        strokeWidth="1.4"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}

/** The mark of candlewick: two candles. */
export function Logo() {
  return (
    <svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true" focusable="false">
      <path d="M5.5 1v16M12.5 2v14" stroke="var(--text-faint)" strokeWidth="1.4" strokeLinecap="round" />
      <rect x="3" y="5" width="5" height="8" rx="1" fill="var(--up)" />
      <rect x="10" y="5" width="5" height="6" rx="1" fill="var(--down)" />
    </svg>
  );
}
