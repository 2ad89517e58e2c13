/** The state of the page: what is in the URL, and the watchlist. */

import { createContext, type ReactNode, use, useCallback, useEffect, useMemo, useState } from "react";
import type { Market } from "./model/market";
import { formatUrl, parseUrl, type UrlState } from "./model/url";
import { loadWatchlist, saveWatchlist } from "./model/watchlist";

interface AppState extends UrlState {
  /** The user's watchlist, or the shared one of the URL; null if the user has none. */
  watched: Market[] | null;
  /** Changes the URL. `replace` adds no entry to the browser's history. */
  navigate: (changes: Partial<UrlState>, replace?: boolean) => void;
  setWatched: (markets: Market[]) => void;
}

const Context = createContext<AppState | null>(null);

export function useAppState(): AppState {
  const state = use(Context);
  if (!state) throw new Error("useAppState needs AppStateProvider");
  return state;
}

export function AppStateProvider({ children }: { children: ReactNode }) {
  const [url, setUrl] = useState(() => parseUrl(window.location.search));
  const [stored, setStored] = useState(() => loadWatchlist(localStorage));

  useEffect(() => {
    const onPopState = () => setUrl(parseUrl(window.location.search));
    window.addEventListener("popstate", onPopState);
    return () => window.removeEventListener("popstate", onPopState);
  }, []);

  const navigate = useCallback((changes: Partial<UrlState>, replace = false) => {
    // The URL, not the state of the last render, is what changes build on.
    const next = { ...parseUrl(window.location.search), ...changes };
    const address = `/${formatUrl(next)}`;
    if (replace) window.history.replaceState(null, "", address);
    else window.history.pushState(null, "", address);
    setUrl(next);
  }, []);

  const setWatched = useCallback(
    (markets: Market[]) => {
      saveWatchlist(localStorage, markets);
      setStored(markets);
      // A shared list becomes the user's own once it is changed.
      if (parseUrl(window.location.search).watchlist) navigate({ watchlist: null }, true);
    },
    [navigate],
  );

  const state = useMemo(
    () => ({ ...url, watched: url.watchlist ?? stored, navigate, setWatched }),
    [url, stored, navigate, setWatched],
  );
  return <Context value={state}>{children}</Context>;
}
