-- Closed candles, the ledger of what is known, and the listings. Times are Unix milliseconds.

CREATE TABLE series (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange TEXT NOT NULL,
    symbol   TEXT NOT NULL,
    interval TEXT NOT NULL,
    UNIQUE (exchange, symbol, interval)
);

-- No foreign key to series: ids are never taken back, and Citus or TimescaleDB can take this table over as it is.
CREATE TABLE candles (
    series_id    BIGINT  NOT NULL,
    open_time    BIGINT  NOT NULL,
    open         NUMERIC NOT NULL,
    high         NUMERIC NOT NULL,
    low          NUMERIC NOT NULL,
    close        NUMERIC NOT NULL,
    volume       NUMERIC NOT NULL,
    quote_volume NUMERIC,
    trades       BIGINT,
    revision     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (series_id, open_time)
);

-- The ranges of a series are disjoint; what is in no range is unknown.
CREATE TABLE coverage (
    series_id  BIGINT NOT NULL,
    start_time BIGINT NOT NULL,
    end_time   BIGINT NOT NULL,
    state      TEXT   NOT NULL,
    PRIMARY KEY (series_id, start_time),
    CHECK (start_time < end_time)
);

CREATE TABLE instruments (
    exchange      TEXT    NOT NULL,
    symbol        TEXT    NOT NULL,
    native        TEXT    NOT NULL,
    stream_native TEXT,
    price_step    NUMERIC,
    amount_step   NUMERIC,
    active        BOOLEAN NOT NULL,
    PRIMARY KEY (exchange, symbol)
);

CREATE TABLE listings (
    exchange TEXT   PRIMARY KEY,
    read_at  BIGINT NOT NULL
);
