import { useAppState } from "../app-state";
import { INTERVALS } from "../model/interval";
import { OFFERED_ZONES, zoneName } from "../model/time";
import styles from "./toolbar.module.css";

interface Props {
  isLogarithmic: boolean;
  onLogarithmic: (value: boolean) => void;
}

/** The interval, the scale and the time zone of the chart. */
export function Toolbar({ isLogarithmic, onLogarithmic }: Props) {
  const { interval, navigate } = useAppState();
  return (
    <div className={styles.toolbar}>
      {/* biome-ignore lint/a11y/useSemanticElements: a group of buttons */}
      <div className={styles.intervals} role="group" aria-label="Interval">
        {INTERVALS.map((name) => (
          <button
            key={name}
            type="button"
            aria-pressed={name === interval}
            onClick={() => navigate({ interval: name }, true)}
          >
            {name}
          </button>
        ))}
      </div>
      <button
        type="button"
        className={styles.toggle}
        aria-pressed={isLogarithmic}
        onClick={() => onLogarithmic(!isLogarithmic)}
      >
        Log
      </button>
      <ZoneSelect />
    </div>
  );
}

function ZoneSelect() {
  const { zone, navigate } = useAppState();
  const isOffered = OFFERED_ZONES.includes(zone) || zone === "UTC" || zone === "local";
  return (
    <select
      className={styles.zone}
      aria-label="Time zone"
      value={zone}
      onChange={(event) => navigate({ zone: event.target.value }, true)}
    >
      <option value="UTC">UTC</option>
      <option value="local">Local ({zoneName("local", Date.now())})</option>
      {[...(isOffered ? [] : [zone]), ...OFFERED_ZONES].map((name) => (
        <option key={name} value={name}>
          {name.replaceAll("_", " ").split("/").pop()}
        </option>
      ))}
    </select>
  );
}
