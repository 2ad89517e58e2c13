/** Small parts that all pages use. */

import { type ComponentProps, type ReactNode, useEffect, useRef } from "react";
import { ApiError } from "../api/client";
import styles from "./controls.module.css";
import { Icon, type IconName } from "./icons";

type ButtonProps = ComponentProps<"button"> & { primary?: boolean };

export function Button({ primary = false, className = "", ...props }: ButtonProps) {
  return (
    <button
      type="button"
      className={`${styles.button} ${primary ? styles.primary : ""} ${className}`}
      {...props}
    />
  );
}

/** A button that shows an icon only; `label` is its accessible name and tooltip. */
export function IconButton({
  icon,
  label,
  filled = false,
  className = "",
  ...props
}: ComponentProps<"button"> & { icon: IconName; label: string; filled?: boolean }) {
  return (
    <button
      type="button"
      className={`${styles.button} ${styles.icon} ${className}`}
      aria-label={label}
      title={label}
      {...props}
    >
      <Icon name={icon} filled={filled} />
    </button>
  );
}

export function Field({ label, children }: { label: string; children: ReactNode }) {
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: the control is the child
    <label className={styles.field}>
      <span>{label}</span>
      {children}
    </label>
  );
}

export const inputClass = styles.input as string;
export const rowClass = styles.row as string;

/** A placeholder of the size of the text that will replace it. */
export function Skeleton({ width }: { width: number | string }) {
  return <span className={styles.skeleton} style={{ width }} aria-hidden="true" />;
}

/** A place that has nothing to show: says why, and what to do. */
export function EmptyNote({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className={`${styles.note} ${styles.centered}`}>
      <strong>{title}</strong>
      {children}
    </div>
  );
}

/** A failure: what happened, and what to do about it. */
export function ErrorNote({
  title,
  error,
  onRetry,
}: {
  title: string;
  error: unknown;
  onRetry?: () => void;
}) {
  return (
    <div className={styles.note} role="alert">
      <strong>{title}</strong>
      <span>{errorText(error)}</span>
      {onRetry && <Button onClick={onRetry}>Try again</Button>}
    </div>
  );
}

export function errorText(error: unknown): string {
  if (error instanceof ApiError) return sentence(error.message);
  return error instanceof Error ? error.message : String(error);
}

/** The details of problems start in lower case and have no full stop. */
function sentence(text: string): string {
  const full = /[.!?…]$/.test(text) ? text : `${text}.`;
  return full.charAt(0).toUpperCase() + full.slice(1);
}

/** A modal dialog. It closes with Escape, with its button, and with a click outside. */
export function Dialog({
  title,
  onClose,
  hideTitle = false,
  children,
}: {
  title: string;
  onClose: () => void;
  hideTitle?: boolean;
  children: ReactNode;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog
    <dialog
      ref={ref}
      className={styles.dialog}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => event.target === ref.current && onClose()}
    >
      {hideTitle ? (
        children
      ) : (
        <>
          <div className={styles.dialogHead}>
            <h2>{title}</h2>
            <IconButton icon="close" label="Close" onClick={onClose} />
          </div>
          <div className={styles.dialogBody}>{children}</div>
        </>
      )}
    </dialog>
  );
}

const GOOD = ["live", "done", "valid"];
const BAD = ["down", "failed"];
const NEUTRAL = ["waiting", "revoked"];

/** The state of an exchange, a connection or a backfill. */
export function StateBadge({ state }: { state: string }) {
  const tone = GOOD.includes(state)
    ? styles.good
    : BAD.includes(state)
      ? styles.bad
      : NEUTRAL.includes(state)
        ? ""
        : styles.attention;
  return <span className={`${styles.badge} ${tone}`}>{state}</span>;
}

/** A part of a whole, from 0 to 1. */
export function Meter({ value, label }: { value: number; label: string }) {
  const percent = Math.min(Math.max(value, 0), 1) * 100;
  return (
    // biome-ignore lint/a11y/useSemanticElements: the parts of a meter element cannot be styled alike in all browsers
    <div
      className={styles.meter}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(percent)}
    >
      <span style={{ width: `${percent}%` }} />
    </div>
  );
}
