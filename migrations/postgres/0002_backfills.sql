-- Ranges that someone wants to be known. What of them is done says the ledger.

CREATE TABLE backfills (
    id         TEXT   PRIMARY KEY,
    exchange   TEXT   NOT NULL,
    symbol     TEXT   NOT NULL,
    interval   TEXT   NOT NULL,
    start_time BIGINT NOT NULL,
    end_time   BIGINT NOT NULL,
    state      TEXT   NOT NULL,
    detail     TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
