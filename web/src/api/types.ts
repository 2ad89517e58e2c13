import type { components } from "./schema";

type Schemas = components["schemas"];

export type Backfill = Schemas["Backfill"];
export type Candle = Schemas["Candle"];
export type Coverage = Schemas["Coverage"];
export type CreatedKey = Schemas["CreatedKey"];
export type CoveredRange = Schemas["CoveredRange"];
export type Exchange = Schemas["Exchange"];
export type Gap = Schemas["Gap"];
export type History = Schemas["History"];
export type Instrument = Schemas["Instrument"];
export type Key = Schemas["Key"];
export type Problem = Schemas["Problem"];
export type Ticker = Schemas["Ticker"];
