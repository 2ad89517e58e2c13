import { getBlob } from "../api/client";
import { useMutation } from "../api/query";
import { download } from "../model/csv";
import { formatCount } from "../model/format";
import type { Interval } from "../model/interval";
import { type Market, marketId } from "../model/market";
import { Button, ErrorNote } from "../ui/controls";
import page from "../ui/page.module.css";
import styles from "./data-page.module.css";

/** Above this number of candles the browser's memory is the wrong place for an export. */
const MAX_CANDLES = 2_000_000;

interface Props {
  market: Market;
  interval: Interval;
  start: number;
  end: number;
  candles: number;
}

/** Downloads a range in one of the formats of `/v1/history`. */
export function Export({ market, interval, start, end, candles }: Props) {
  const save = useMutation(async (format: "csv" | "ndjson") => {
    // The key is in a header, so a plain link cannot download it.
    const name = `${marketId(market).replace(":", "-")}-${interval}.${format}`;
    download(name, await getBlob("/v1/history", { ...market, interval, start, end, format }));
  });
  const isTooLarge = candles > MAX_CANDLES;
  const command = `candlewick export --exchange ${market.exchange} --symbol ${market.symbol} --interval ${interval} --since ${new Date(start).toISOString().slice(0, 10)}`;
  return (
    <section className={page.panel} aria-label="Export">
      <div className={page.panelHead}>
        <h2>Export</h2>
        <span className="muted">
          {formatCount(candles)} intervals known, times without trades have no row
        </span>
      </div>
      {save.error !== null && <ErrorNote title="The export failed" error={save.error} />}
      <div className={styles.export}>
        {(["csv", "ndjson"] as const).map((format) => (
          <Button key={format} disabled={save.isPending || isTooLarge} onClick={() => save.start(format)}>
            {save.input === format ? "Preparing" : format.toUpperCase()}
          </Button>
        ))}
        {isTooLarge && (
          <span className="muted">
            Too large for a browser. Use <code>{command}</code>
          </span>
        )}
      </div>
    </section>
  );
}
