-- Ranges that someone wants to be known. What of them is done says the ledger.

CREATE TABLE backfills (
    id         TEXT    NOT NULL PRIMARY KEY,
    exchange   TEXT    NOT NULL,
    symbol     TEXT    NOT NULL,
    interval   TEXT    NOT NULL,
    start_time INTEGER NOT NULL,
    end_time   INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    detail     TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
