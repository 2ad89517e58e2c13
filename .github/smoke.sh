#!/usr/bin/env bash
# Starts the binary with the real exchanges, requests a ticker of each, and writes a table to the summary of the
# workflow run, otherwise to the terminal. Fails if a ticker is missing, stale or simulated, or if the service does not
# shut down cleanly.
#   usage: smoke.sh BINARY
set -euo pipefail

binary=$(realpath "$1")
summary=${GITHUB_STEP_SUMMARY:-/dev/stdout}
origin=http://127.0.0.1:${PORT:=8000}
folder=$(mktemp -d)
log=$folder/log

cd "$folder"
PORT=$PORT CANDLEWICK__DATA=${CANDLEWICK__DATA:-live} "$binary" >"$log" 2>&1 &
service=$!
trap 'kill "$service" 2>/dev/null || true; rm -rf "$folder"' EXIT

failed() {
    echo "$1"
    echo "--- end of the log"
    tail -100 "$log"
    exit 1
}

for _ in $(seq 60); do
    curl --silent --fail --max-time 2 "$origin/readyz" >/dev/null && ready=1 && break
    kill -0 "$service" 2>/dev/null || failed "the service ended before it was ready"
    sleep 1
done
[ -n "${ready:-}" ] || failed "the service was not ready within a minute"

bad=0
{
    echo "| exchange | symbol | | last | bid | ask | age, ms | source |"
    echo "|---|---|---|---|---|---|---|---|"
} >>"$summary"
while read -r exchange symbol; do
    # Retry: an exchange may be slow to connect.
    for try in 1 2 3 4 5; do
        response=$(curl --silent --max-time 10 --get "$origin/v1/ticker" --data "exchange=$exchange" --data-urlencode "symbol=$symbol") || response='{}'
        verdict=$(jq --raw-output 'if .code then .code elif .simulated then "simulated" elif .stale then "stale" elif .last then "ok" else "no ticker" end' \
            <<<"$response" 2>/dev/null) || verdict="no JSON"
        if [ "$verdict" = ok ] || [ "$try" = 5 ]; then break; fi
        sleep 5
    done
    [ "$verdict" = ok ] || bad=1
    row=$(jq --raw-output '[.last, .bid, .ask, .age_ms, .source] | map(. // "") | join(" | ")' <<<"$response" 2>/dev/null) || row=" | | | | "
    echo "| $exchange | $symbol | $verdict | $row |" >>"$summary"
done <<'MARKETS'
binance BTC/USDT
kraken BTC/USD
coinbase BTC/USD
okx BTC/USDT
bybit BTC/USDT
MARKETS

kill -TERM "$service"
wait "$service" || failed "the service ended with exit code $?"
[ "$bad" = 0 ] || failed "not every exchange returned a valid ticker: see the table"
