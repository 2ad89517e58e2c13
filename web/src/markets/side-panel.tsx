import type { Instrument } from "../api/types";
import type { Market } from "../model/market";
import { Comparison } from "./comparison";
import { TradeTape } from "./trade-tape";

interface Props {
  market: Market;
  /** Markets with the same base asset; null while they are loading. */
  instruments: Instrument[] | null;
  priceStep: number | null;
  onSelect: (market: Market) => void;
}

/** What is beside the chart: the other exchanges and the trades. */
export default function SidePanel({ market, instruments, priceStep, onSelect }: Props) {
  return (
    <>
      <Comparison market={market} instruments={instruments} onSelect={onSelect} />
      <TradeTape market={market} priceStep={priceStep} />
    </>
  );
}
