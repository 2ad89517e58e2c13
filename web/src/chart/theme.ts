/** Colours of the chart, from the custom properties of the page. */

export interface ChartColors {
  background: string;
  text: string;
  grid: string;
  border: string;
  crosshair: string;
  up: string;
  down: string;
  upVolume: string;
  downVolume: string;
  accent: string;
  gap: Record<string, string>;
}

export function chartColors(element: Element): ChartColors {
  const style = getComputedStyle(element);
  const color = (name: string) => style.getPropertyValue(name).trim();
  return {
    background: color("--surface"),
    text: color("--text-muted"),
    grid: color("--grid"),
    border: color("--border"),
    crosshair: color("--text-faint"),
    up: color("--up"),
    down: color("--down"),
    upVolume: color("--up-volume"),
    downVolume: color("--down-volume"),
    accent: color("--accent"),
    gap: {
      pending: color("--gap-pending"),
      offline: color("--gap-offline"),
      unavailable: color("--gap-unavailable"),
      invalid: color("--gap-invalid"),
      off_grid: color("--gap-invalid"),
    },
  };
}
