import { type FormEvent, useState } from "react";
import { post } from "../api/client";
import { keysQuery } from "../api/queries";
import { invalidate, useMutation, useQuery } from "../api/query";
import type { CreatedKey, Key } from "../api/types";
import { formatCount } from "../model/format";
import { formatDate } from "../model/time";
import { Button, Dialog, ErrorNote, Field, inputClass, Skeleton, StateBadge } from "../ui/controls";
import page from "../ui/page.module.css";
import { PageFooter } from "../ui/page-footer";
import styles from "./keys-page.module.css";

const SCOPES = ["read", "stream", "admin"] as const;

/** The API keys: create, list, revoke. */
export default function KeysPage() {
  const { data: keys, error, refetch } = useQuery(keysQuery);
  const [created, setCreated] = useState<CreatedKey | null>(null);
  const [toRevoke, setToRevoke] = useState<Key | null>(null);
  if (error && !keys) {
    const isForbidden = error.status === 401 || error.status === 403;
    const title = isForbidden ? "Keys need administration rights" : "The keys could not be loaded";
    return (
      <div className={page.page}>
        <h1 className={page.title}>API keys</h1>
        <ErrorNote title={title} error={error} onRetry={refetch} />
      </div>
    );
  }
  return (
    <div className={page.page}>
      <h1 className={page.title}>API keys</h1>
      <NewKeyForm onCreated={setCreated} />
      <section className={page.panel} aria-label="Keys">
        <div className={page.panelHead}>
          <h2>Keys</h2>
        </div>
        {!keys && (
          <div className={styles.loading}>
            <Skeleton width="40%" />
          </div>
        )}
        {keys?.length === 0 && (
          <p className={`${styles.empty} muted`}>
            No key yet. Clients need one only if the service requires it (auth.required).
          </p>
        )}
        {keys && keys.length > 0 && <KeyTable keys={keys} onRevoke={setToRevoke} />}
      </section>
      <PageFooter />
      {created && <CreatedDialog created={created} onClose={() => setCreated(null)} />}
      {toRevoke && <RevokeDialog revoked={toRevoke} onClose={() => setToRevoke(null)} />}
    </div>
  );
}

function NewKeyForm({ onCreated }: { onCreated: (key: CreatedKey) => void }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>(["read", "stream"]);
  const [days, setDays] = useState("");
  const create = useMutation(async () => {
    const expiry = days ? { expires_in_days: Number(days) } : {};
    onCreated(await post("/v1/keys", { name, scopes, ...expiry }));
    setName("");
    invalidate("keys");
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.start(undefined);
  };
  return (
    <section className={page.panel} aria-label="New key">
      <div className={page.panelHead}>
        <h2>New key</h2>
      </div>
      <form className={styles.form} onSubmit={submit}>
        <Field label="Name">
          <input
            className={inputClass}
            placeholder="grid bot"
            maxLength={100}
            required
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        </Field>
        <Field label="Expires after (days)">
          <input
            className={inputClass}
            type="number"
            min={1}
            max={36_500}
            placeholder="never"
            value={days}
            onChange={(event) => setDays(event.target.value)}
          />
        </Field>
        <fieldset className={styles.scopes}>
          <legend>Scopes</legend>
          {SCOPES.map((scope) => (
            <label key={scope}>
              <input
                type="checkbox"
                checked={scopes.includes(scope)}
                onChange={({ target }) =>
                  setScopes(target.checked ? [...scopes, scope] : scopes.filter((one) => one !== scope))
                }
              />
              {scope}
            </label>
          ))}
        </fieldset>
        <Button type="submit" primary disabled={create.isPending || scopes.length === 0}>
          Create key
        </Button>
      </form>
      {create.error !== null && <ErrorNote title="The key was not created" error={create.error} />}
    </section>
  );
}

function KeyTable({ keys, onRevoke }: { keys: Key[]; onRevoke: (key: Key) => void }) {
  return (
    <div className={page.tableScroll}>
      <table className={page.table}>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Id</th>
            <th scope="col">Scopes</th>
            <th scope="col">State</th>
            <th scope="col">Created</th>
            <th scope="col">Expires</th>
            <th scope="col" className={page.number}>
              Units per minute
            </th>
            <th scope="col">
              <span className="visually-hidden">Action</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {keys.toReversed().map((key) => (
            <tr key={key.id}>
              <td>
                <strong>{key.name}</strong>
              </td>
              <td>
                <code>{key.id}</code>
              </td>
              <td>{key.scopes.join(", ")}</td>
              <td>
                <StateBadge state={key.state} />
              </td>
              <td>{formatDate("UTC", key.created_at)}</td>
              <td>{key.expires_at === null ? "never" : formatDate("UTC", key.expires_at)}</td>
              <td className={page.number}>
                {key.per_minute === null ? "default" : formatCount(key.per_minute)}
              </td>
              <td className={page.number}>
                {key.state === "valid" && <Button onClick={() => onRevoke(key)}>Revoke</Button>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function CreatedDialog({ created, onClose }: { created: CreatedKey; onClose: () => void }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(created.text);
    setCopied(true);
  };
  return (
    <Dialog title="The key is created" onClose={onClose}>
      <p className="muted">Copy it now: the service stores its hash only and cannot show it again.</p>
      <code className={styles.text}>{created.text}</code>
      <Button primary onClick={copy}>
        {isCopied ? "Copied" : "Copy"}
      </Button>
    </Dialog>
  );
}

function RevokeDialog({ revoked, onClose }: { revoked: Key; onClose: () => void }) {
  const revoke = useMutation(async () => {
    await post(`/v1/keys/${revoked.id}/revoke`);
    invalidate("keys");
    onClose();
  });
  return (
    <Dialog title={`Revoke “${revoked.name}”?`} onClose={onClose}>
      <p className="muted">Its clients are rejected within seconds. This cannot be undone.</p>
      {revoke.error !== null && <ErrorNote title="The key was not revoked" error={revoke.error} />}
      <Button primary disabled={revoke.isPending} onClick={() => revoke.start(undefined)}>
        Revoke the key
      </Button>
    </Dialog>
  );
}
