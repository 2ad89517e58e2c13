-- Closed candles, the ledger of what is known, and the listings.
-- Decimals are TEXT without trailing zeros, so that equal numbers are equal texts. Times are Unix milliseconds.

CREATE TABLE series (
    id       INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL,
    symbol   TEXT NOT NULL,
    interval TEXT NOT NULL,
    UNIQUE (exchange, symbol, interval)
) STRICT;

-- Without a rowid the rows of a series lie beside each other in the order in which they are read.
CREATE TABLE candles (
    series_id    INTEGER NOT NULL REFERENCES series (id),
    open_time    INTEGER NOT NULL,
    open         TEXT    NOT NULL,
    high         TEXT    NOT NULL,
    low          TEXT    NOT NULL,
    close        TEXT    NOT NULL,
    volume       TEXT    NOT NULL,
    quote_volume TEXT,
    trades       INTEGER,
    revision     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (series_id, open_time)
) STRICT, WITHOUT ROWID;

-- The ranges of a series are disjoint; what is in no range is unknown.
CREATE TABLE coverage (
    series_id  INTEGER NOT NULL REFERENCES series (id),
    start_time INTEGER NOT NULL,
    end_time   INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    PRIMARY KEY (series_id, start_time),
    CHECK (start_time < end_time)
) STRICT, WITHOUT ROWID;

CREATE TABLE instruments (
    exchange      TEXT    NOT NULL,
    symbol        TEXT    NOT NULL,
    native        TEXT    NOT NULL,
    stream_native TEXT,
    price_step    TEXT,
    amount_step   TEXT,
    active        INTEGER NOT NULL CHECK (active IN (0, 1)),
    PRIMARY KEY (exchange, symbol)
) STRICT, WITHOUT ROWID;

CREATE TABLE listings (
    exchange TEXT    NOT NULL PRIMARY KEY,
    read_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
