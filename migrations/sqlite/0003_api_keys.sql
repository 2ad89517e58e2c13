-- API keys: of their texts only the SHA-256. Times are Unix milliseconds; scopes are separated by spaces.

CREATE TABLE api_keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    digest     BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,
    per_minute INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
