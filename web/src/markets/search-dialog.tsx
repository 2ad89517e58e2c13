import { type KeyboardEvent, useEffect, useId, useMemo, useRef, useState } from "react";
import { exchangesQuery, searchQuery } from "../api/queries";
import { useLatest, useQuery } from "../api/query";
import type { Instrument } from "../api/types";
import { useAppState } from "../app-state";
import { afterBase, baseOf, marketId, sameMarket } from "../model/market";
import { matchesSearch, parseSearch, rankInstruments } from "../model/search";
import { addMarket, removeMarket } from "../model/watchlist";
import { Dialog, ErrorNote } from "../ui/controls";
import { Icon } from "../ui/icons";
import { useWatched } from "./markets-page";
import styles from "./search-dialog.module.css";

/** Pause after a key press before the service is asked. */
const PAUSE_MS = 120;

/** Maximum number of results: a longer list is better narrowed by typing. */
const MAX_RESULTS = 60;

/** Search over the markets of all exchanges. Enter selects a market; Ctrl-Enter adds it to the watchlist. */
export default function SearchDialog({ onClose }: { onClose: () => void }) {
  const { navigate, setWatched, page } = useAppState();
  const watched = useWatched() ?? [];
  const [input, setInput] = useState("");
  const [active, setActive] = useState(0);
  const { results, isPending, error } = useSearch(input);
  const listId = useId();
  const list = useRef<HTMLDivElement>(null);
  const current = results[Math.min(active, results.length - 1)];

  // biome-ignore lint/correctness/useExhaustiveDependencies: the active result must stay in view when it changes
  useEffect(() => {
    list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }, [active]);

  const select = ({ exchange, symbol }: Instrument) => {
    navigate({ market: { exchange, symbol }, page: page === "data" ? "data" : "markets" });
    onClose();
  };
  const toggle = ({ exchange, symbol }: Instrument) => {
    const market = { exchange, symbol };
    const isWatched = watched.some((other) => sameMarket(other, market));
    setWatched(isWatched ? removeMarket(watched, market) : addMarket(watched, market));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    const step = steps[event.key];
    if (step !== undefined) {
      event.preventDefault();
      setActive(Math.min(Math.max(active + step, 0), results.length - 1));
    } else if (event.key === "Enter" && current) {
      if (event.ctrlKey || event.metaKey) toggle(current);
      else select(current);
    }
  };

  return (
    <Dialog title="Search markets" hideTitle onClose={onClose}>
      <div className={styles.search}>
        <Icon name="search" />
        <input
          role="combobox"
          aria-expanded="true"
          aria-controls={listId}
          aria-activedescendant={current ? `result-${marketId(current)}` : undefined}
          aria-label="Search markets"
          placeholder="Symbol or exchange, such as btc kraken"
          autoComplete="off"
          spellCheck={false}
          autoFocus
          value={input}
          onChange={(event) => {
            setInput(event.target.value);
            setActive(0);
          }}
          onKeyDown={onKeyDown}
        />
      </div>
      {error && results.length === 0 ? (
        <ErrorNote title="The search failed" error={error} />
      ) : (
        <div ref={list} id={listId} className={styles.results} role="listbox" aria-label="Markets">
          {results.map((instrument, at) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the input handles the keys
            <div
              key={marketId(instrument)}
              id={`result-${marketId(instrument)}`}
              className={styles.result}
              role="option"
              tabIndex={-1}
              aria-selected={at === Math.min(active, results.length - 1)}
              onClick={() => select(instrument)}
            >
              <span className={styles.symbol}>
                {baseOf(instrument.symbol)}
                <i>/{afterBase(instrument.symbol)}</i>
              </span>
              <span className={styles.exchange}>{instrument.exchange}</span>
              {!instrument.active && <span className="warn">{instrument.status}</span>}
              {/* biome-ignore lint/a11y/useKeyWithClickEvents: Ctrl-Enter does the same */}
              {/* biome-ignore lint/a11y/noStaticElementInteractions: an option contains no controls */}
              <span
                className={styles.star}
                title="Watch or unwatch"
                onClick={(event) => {
                  event.stopPropagation();
                  toggle(instrument);
                }}
              >
                <Icon name="star" filled={watched.some((other) => sameMarket(other, instrument))} />
              </span>
            </div>
          ))}
        </div>
      )}
      <p className={styles.foot} role="status">
        {results.length > 0 ? (
          <>
            <kbd>↵</kbd> open <kbd>Ctrl ↵</kbd> watch or unwatch <kbd>Esc</kbd> close
          </>
        ) : isPending ? (
          "Searching"
        ) : (
          `No market contains “${input}”. Try the base asset only, such as BTC.`
        )}
      </p>
    </Dialog>
  );
}

function useSearch(input: string) {
  const exchanges = useQuery(exchangesQuery).data;
  const [settled, setSettled] = useState(input);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(input), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [input]);
  const ids = useMemo(() => exchanges?.map(({ id }) => id) ?? [], [exchanges]);
  const asked = parseSearch(settled, ids);
  const query = useQuery(searchQuery(asked.exchange, asked.text));
  const instruments = useLatest(query.data);
  const results = useMemo(() => {
    const collected = new Set(
      exchanges?.flatMap(({ id, symbols }) => symbols.map((symbol) => `${id}:${symbol}`)),
    );
    const isCollected = (one: Instrument) => collected.has(`${one.exchange}:${one.symbol}`);
    const wanted = parseSearch(input, ids);
    const matching = instruments?.filter((instrument) => matchesSearch(wanted, instrument)) ?? [];
    return rankInstruments(matching, wanted.text, isCollected).slice(0, MAX_RESULTS);
  }, [instruments, exchanges, ids, input]);
  return { results, isPending: (!query.data && !query.error) || settled !== input, error: query.error };
}
