-- API keys: of their texts only the SHA-256. Times are Unix milliseconds; scopes are separated by spaces.

CREATE TABLE api_keys (
    id         TEXT    PRIMARY KEY,
    digest     BYTEA   NOT NULL,
    name       TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,
    per_minute INTEGER,
    created_at BIGINT  NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
