/** A list of rows of equal height, of which only the visible ones exist. */

import { type RefObject, useEffect, useState } from "react";

/** Rows above and below the visible ones, so that scrolling shows no blanks. */
const EXTRA = 4;

/** Indexes of the rows to render: from `first` up to, not including, `last`. */
export interface VisibleRows {
  first: number;
  last: number;
}

export function visibleRows(top: number, height: number, rowHeight: number, count: number): VisibleRows {
  const first = Math.max(0, Math.floor(top / rowHeight) - EXTRA);
  return {
    first: Math.min(first, count),
    last: Math.min(count, Math.ceil((top + height) / rowHeight) + EXTRA),
  };
}

/** Follows the scroll position and the size of an element. */
export function useVisibleRows(
  scroller: RefObject<HTMLElement | null>,
  rowHeight: number,
  count: number,
): VisibleRows {
  const [view, setView] = useState({ top: 0, height: 0 });
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const update = () => {
      const [top, height] = [element.scrollTop, element.clientHeight];
      setView((before) => (before.top === top && before.height === height ? before : { top, height }));
    };
    const observer = new ResizeObserver(update);
    observer.observe(element);
    element.addEventListener("scroll", update, { passive: true });
    update();
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", update);
    };
  }, [scroller]);
  return visibleRows(view.top, view.height, rowHeight, count);
}

/** Scrolls as little as necessary to show a row. */
export function scrollToRow(element: HTMLElement | null, rowHeight: number, row: number): void {
  if (!element) return;
  const top = row * rowHeight;
  if (top < element.scrollTop) element.scrollTop = top;
  else if (top + rowHeight > element.scrollTop + element.clientHeight) {
    element.scrollTop = top + rowHeight - element.clientHeight;
  }
}
