import { useState, useSyncExternalStore } from "react";
import { currentKey, onKeyChange, setKey } from "./api/client";
import { useAppState } from "./app-state";
import styles from "./header.module.css";
import { PAGES, type Page } from "./model/url";
import { useConnection } from "./stream/live";
import { Button, Dialog, Field, IconButton, inputClass } from "./ui/controls";
import { Icon, Logo } from "./ui/icons";
import { setTheme, THEMES, useTheme } from "./ui/theme";
import { useNow } from "./ui/use-now";

const LABELS: Record<Page, string> = {
  markets: "Markets",
  exchanges: "Exchanges",
  data: "Data",
  keys: "Keys",
};

export function Header({ onSearch, isLocked }: { onSearch: () => void; isLocked: boolean }) {
  const { page, navigate } = useAppState();
  return (
    <header className={styles.header}>
      <a className={styles.brand} href="/" aria-label="candlewick">
        <Logo />
        <span>candlewick</span>
      </a>
      <nav className={styles.nav} aria-label="Pages">
        {PAGES.map((name) => (
          <a
            key={name}
            href={name === "markets" ? "/" : `/?p=${name}`}
            aria-current={page === name ? "page" : undefined}
            onClick={(event) => {
              if (event.ctrlKey || event.metaKey || event.shiftKey) return;
              event.preventDefault();
              navigate({ page: name });
            }}
          >
            {LABELS[name]}
          </a>
        ))}
      </nav>
      <div className={styles.tools}>
        <button type="button" className={styles.search} onClick={onSearch} disabled={isLocked}>
          <Icon name="search" />
          <span>Search markets</span>
          <kbd>/</kbd>
        </button>
        {!isLocked && <ConnectionState />}
        <ThemeSwitch />
        {!isLocked && <KeyButton />}
      </div>
    </header>
  );
}

function ConnectionState() {
  const connection = useConnection();
  const text = {
    live: "Live",
    connecting: "Connecting",
    stale: "Stale",
    reconnecting: "Reconnecting",
  }[connection.state];
  return (
    <div className={`${styles.connection} ${styles[connection.state]}`}>
      <span role="status">{text}</span>
      {connection.state === "reconnecting" && <Countdown until={connection.retryAt} />}
    </div>
  );
}

/** Seconds until the next attempt. Not announced by screen readers: it changes every second. */
function Countdown({ until }: { until: number }) {
  useNow();
  const seconds = Math.ceil((until - Date.now()) / 1000);
  return seconds > 0 ? <span aria-hidden="true">in {seconds} s</span> : null;
}

function ThemeSwitch() {
  const { choice } = useTheme();
  const next = THEMES[(THEMES.indexOf(choice) + 1) % THEMES.length] ?? "system";
  const icon = { system: "system", light: "sun", dark: "moon" } as const;
  return (
    <IconButton
      icon={icon[choice]}
      label={`Theme: ${choice}. Switch to ${next}`}
      onClick={() => setTheme(next)}
    />
  );
}

/** Sets or forgets the API key: changes need one with the scope admin. */
function KeyButton() {
  const key = useSyncExternalStore(onKeyChange, currentKey);
  const [isOpen, setOpen] = useState(false);
  const [text, setText] = useState("");
  if (key !== null) {
    return <IconButton icon="key" filled label="Forget the API key" onClick={() => setKey(null)} />;
  }
  const submit = () => {
    if (text.trim()) setKey(text.trim());
    setText("");
    setOpen(false);
  };
  return (
    <>
      <IconButton icon="key" label="Use an API key" onClick={() => setOpen(true)} />
      {isOpen && (
        <Dialog title="Use an API key" onClose={() => setOpen(false)}>
          <p className="muted">
            Changes, such as backfills, need a key with the scope admin, unless you are on the machine of the
            service. The key is kept until you close this tab.
          </p>
          <Field label="API key">
            <input
              className={inputClass}
              type="password"
              autoComplete="off"
              value={text}
              onChange={(event) => setText(event.target.value)}
              onKeyDown={(event) => event.key === "Enter" && submit()}
            />
          </Field>
          <Button primary onClick={submit}>
            Use this key
          </Button>
        </Dialog>
      )}
    </>
  );
}
