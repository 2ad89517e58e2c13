import { type FormEvent, useState, useSyncExternalStore } from "react";
import { currentKey, onKeyChange, setKey } from "../api/client";
import { Button, Field, inputClass } from "../ui/controls";
import { Logo } from "../ui/icons";
import styles from "./login-page.module.css";

/** Asks for an API key where the service requires one. */
export default function LoginPage() {
  const key = useSyncExternalStore(onKeyChange, currentKey);
  const [text, setText] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) setKey(text.trim());
    setText("");
  };
  return (
    <form className={styles.form} onSubmit={submit}>
      <h1>
        <Logo /> Sign in
      </h1>
      <p className="muted">
        This service requires an API key with the scopes read and stream. Its operator creates one with{" "}
        <code>candlewick keys create</code>.
      </p>
      {key !== null && (
        <p role="alert" className="down">
          This key is unknown, expired or revoked. Check that you copied all of it, or{" "}
          <button type="button" className={styles.link} onClick={() => setKey(null)}>
            continue without a key
          </button>
          .
        </p>
      )}
      <Field label="API key">
        <input
          className={inputClass}
          type="password"
          autoComplete="off"
          // biome-ignore lint/a11y/noAutofocus: the page has one input
          autoFocus
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
      </Field>
      <Button type="submit" primary>
        Sign in
      </Button>
      <p className="muted">
        The key is kept in this tab until you close it, and is never part of an address.
      </p>
    </form>
  );
}
