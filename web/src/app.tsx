import { Component, lazy, type ReactNode, Suspense, useEffect, useState, useSyncExternalStore } from "react";
import { currentKey, onKeyChange } from "./api/client";
import { exchangesQuery } from "./api/queries";
import { invalidate, useQuery } from "./api/query";
import styles from "./app.module.css";
import { useAppState } from "./app-state";
import { Header } from "./header";
import { MarketsPage } from "./markets/markets-page";
import { stream } from "./stream/live";
import { Button, EmptyNote, errorText } from "./ui/controls";

const loadSearch = () => import("./markets/search-dialog");
const SearchDialog = lazy(loadSearch);
const ExchangesPage = lazy(() => import("./exchanges/exchanges-page"));
const DataPage = lazy(() => import("./data/data-page"));
const KeysPage = lazy(() => import("./keys/keys-page"));
const LoginPage = lazy(() => import("./keys/login-page"));

const TITLES = { markets: "Markets", exchanges: "Exchanges", data: "Data", keys: "API keys" };

export function App() {
  const { page, market } = useAppState();
  const exchanges = useQuery(exchangesQuery);
  const [isSearching, setSearching] = useState(false);
  const key = useSyncExternalStore(onKeyChange, currentKey);
  const isLocked = exchanges.error?.status === 401;
  useShortcuts(() => setSearching(true));
  // What a user types right after the key must not be lost.
  useEffect(() => void loadSearch(), []);
  useStatusUpdates();

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new key changes what the service answers
  useEffect(() => {
    invalidate();
  }, [key]);

  useEffect(() => {
    document.title = `${page === "markets" && market ? market.symbol : TITLES[page]} · candlewick`;
  }, [page, market]);

  return (
    <div className={styles.app}>
      <a className={styles.skip} href="#main">
        Skip to content
      </a>
      <Header onSearch={() => setSearching(true)} isLocked={isLocked} />
      <SimulatedBanner />
      <main id="main" className={styles.main} tabIndex={-1}>
        <ErrorBoundary key={page}>
          <Suspense fallback={<div className={styles.loading} aria-busy="true" />}>
            {isLocked ? (
              <LoginPage />
            ) : page === "exchanges" ? (
              <ExchangesPage />
            ) : page === "data" ? (
              <DataPage />
            ) : page === "keys" ? (
              <KeysPage />
            ) : (
              <MarketsPage onSearch={() => setSearching(true)} />
            )}
          </Suspense>
        </ErrorBoundary>
      </main>
      {isSearching && !isLocked && (
        <Suspense>
          <SearchDialog onClose={() => setSearching(false)} />
        </Suspense>
      )}
    </div>
  );
}

/** `/` and Ctrl-K open the search. */
function useShortcuts(openSearch: () => void) {
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      const isTyping = (event.target as Element).matches?.("input, select, textarea");
      const isSlash = event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey;
      const isCtrlK = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey);
      if (!isSlash && !isCtrlK) return;
      event.preventDefault();
      openSearch();
    };
    window.addEventListener("keydown", onKeyDown);
    return () => window.removeEventListener("keydown", onKeyDown);
  }, [openSearch]);
}

/** Loads the exchanges again when the state of one changes, and everything after a reconnect. */
function useStatusUpdates() {
  useEffect(() => {
    let wasLive = true;
    const stopStatus = stream.onStatus(() => invalidate("exchanges"));
    const stopConnection = stream.onConnection(() => {
      const isLive = stream.connection.state === "live";
      if (isLive && !wasLive) invalidate();
      wasLive = isLive;
    });
    return () => {
      stopStatus();
      stopConnection();
    };
  }, []);
}

/** Permanent while any exchange is simulated. */
function SimulatedBanner() {
  const { data } = useQuery(exchangesQuery);
  const simulated = data?.filter((exchange) => exchange.simulated).map(({ name }) => name) ?? [];
  if (simulated.length === 0) return null;
  const names = simulated.length === data?.length ? "all exchanges" : simulated.join(", ");
  return (
    <aside className={styles.banner} aria-label="Notice">
      <strong>Simulated data</strong> <span>Prices of {names} are invented.</span>
    </aside>
  );
}

/** Shows an error in place of a page that failed to load or to render. */
class ErrorBoundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: null as unknown };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    if (this.state.error === null) return this.props.children;
    return (
      <EmptyNote title="This page failed">
        <span>{errorText(this.state.error)}</span>
        <Button onClick={() => window.location.reload()}>Reload</Button>
      </EmptyNote>
    );
  }
}
