-- Kinds of markets and terms of contracts. All instruments up to here are spot markets.
ALTER TABLE instruments ADD COLUMN kind TEXT NOT NULL DEFAULT 'spot' CHECK (kind IN ('spot', 'linear', 'inverse'));
ALTER TABLE instruments ADD COLUMN settle TEXT;
ALTER TABLE instruments ADD COLUMN contract_size TEXT;
ALTER TABLE instruments ADD COLUMN expiry INTEGER;
ALTER TABLE instruments ADD COLUMN min_notional TEXT;

-- The markets of each kind have their own listing.
CREATE TABLE listings_by_kind (
    exchange TEXT    NOT NULL,
    kind     TEXT    NOT NULL CHECK (kind IN ('spot', 'linear', 'inverse')),
    read_at  INTEGER NOT NULL,
    PRIMARY KEY (exchange, kind)
) STRICT, WITHOUT ROWID;
INSERT INTO listings_by_kind (exchange, kind, read_at) SELECT exchange, 'spot', read_at FROM listings;
DROP TABLE listings;
ALTER TABLE listings_by_kind RENAME TO listings;
