import styles from "./page.module.css";

/** Links at the end of a page. */
export function PageFooter() {
  return (
    <footer className={styles.footer}>
      <a href="/docs">API documentation</a>
      <a href="/licenses.txt">Open-source licences</a>
    </footer>
  );
}
