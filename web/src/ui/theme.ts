/** The theme: that of the system, or the user's choice. `data-theme` on the root element selects the colours. */

import { useSyncExternalStore } from "react";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "candlewick.theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

let choice: Theme = readChoice();

function readChoice(): Theme {
  try {
    const stored = localStorage.getItem(KEY) as Theme;
    return THEMES.includes(stored) ? stored : "system";
  } catch {
    return "system";
  }
}

function resolved(): "light" | "dark" {
  if (choice !== "system") return choice;
  return system.matches ? "dark" : "light";
}

function apply(): void {
  document.documentElement.dataset.theme = resolved();
  for (const listener of [...listeners]) listener();
}

/** Applies the theme. Call it before the first render. */
export function startTheme(): void {
  apply();
  system.addEventListener("change", apply);
}

export function setTheme(theme: Theme): void {
  choice = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // Storage is disabled: the choice lives as long as the page.
  }
  apply();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The user's choice, and the theme that it results in. */
export function useTheme(): { choice: Theme; resolved: "light" | "dark" } {
  const chosen = useSyncExternalStore(subscribe, () => choice);
  return { choice: chosen, resolved: useSyncExternalStore(subscribe, resolved) };
}
