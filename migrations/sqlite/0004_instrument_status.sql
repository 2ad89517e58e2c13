-- Whether a market trades: `trading`, `halted` (temporary) or `delisted`. `active` knew two states only.
ALTER TABLE instruments ADD COLUMN status TEXT NOT NULL DEFAULT 'delisted'
    CHECK (status IN ('trading', 'halted', 'delisted'));
UPDATE instruments SET status = 'trading' WHERE active = 1;
ALTER TABLE instruments DROP COLUMN active;
