-- Kinds of markets and terms of contracts. All instruments up to here are spot markets.
ALTER TABLE instruments
    ADD COLUMN kind TEXT NOT NULL DEFAULT 'spot' CHECK (kind IN ('spot', 'linear', 'inverse')),
    ADD COLUMN settle TEXT,
    ADD COLUMN contract_size NUMERIC,
    ADD COLUMN expiry BIGINT,
    ADD COLUMN min_notional NUMERIC;

-- The markets of each kind have their own listing.
ALTER TABLE listings
    ADD COLUMN kind TEXT NOT NULL DEFAULT 'spot' CHECK (kind IN ('spot', 'linear', 'inverse')),
    DROP CONSTRAINT listings_pkey,
    ADD PRIMARY KEY (exchange, kind);
