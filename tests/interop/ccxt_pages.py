"""Pages the same range with ccxt, pointed at the simulated exchanges, and with candlewick, and compares every candle.

Usage: ccxt_pages.py PATH/TO/candlewick        (needs the package ccxt; `make interop` sees to both)
"""

import json
import os
import re
import sys
import tempfile
import time
import urllib.request

import ccxt

from service import started

MINUTE = 60_000
# Exchange, symbol, the exchange's own id, and how many minutes back it gives.
MARKETS = [
    ("binance", "BTC/USDT", "BTCUSDT", 2_500),
    ("kraken", "BTC/USD", "XXBTZUSD", 700),
    ("coinbase", "BTC/USD", "BTC-USD", 1_500),
    ("okx", "BTC/USDT", "BTC-USDT", 1_300),
    ("bybit", "BTC/USDT", "BTCUSDT", 2_500),
]


def client(name, symbol, native, origin):
    """ccxt's own client, looking for the exchange at `origin`."""
    exchange = getattr(ccxt, name)({"enableRateLimit": True})
    exchange.urls["api"] = json.loads(re.sub(r"https://[^/\"]+", origin, json.dumps(exchange.urls["api"])))
    base, quote = symbol.split("/")
    market = {"id": native, "symbol": symbol, "base": base, "quote": quote, "baseId": base, "quoteId": quote,
              "type": "spot", "spot": True, "active": True}
    exchange.set_markets([exchange.safe_market_structure(market)])
    return exchange


def pages(exchange, symbol, since, until):
    """All candles of a range, page by page, as ccxt's users do."""
    rows = []
    while since < until:
        page = [row for row in exchange.fetch_ohlcv(symbol, "1m", since, 300) if since <= row[0] < until]
        if not page:
            break
        rows += page
        since = page[-1][0] + MINUTE
    return rows


def history(service, name, symbol, since, until):
    """The same range as candlewick tells it, once it says that it is complete."""
    url = f"{service}/v1/history?exchange={name}&symbol={symbol}&start={since}&end={until}&limit=5000&format=array"
    for _ in range(100):
        with urllib.request.urlopen(url) as answer:
            if answer.headers["Candlewick-Complete"] == "true":
                return json.load(answer)
        time.sleep(0.2)
    sys.exit(f"{url} was never complete")


def main():
    candlewick = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        world, address = started([candlewick, "simulate", "--listen", "127.0.0.1:0"], folder, {}, r"on http://(\S+)")
        environment = {"CANDLEWICK__DATA": "live", "CANDLEWICK__SERVER__LISTEN": "127.0.0.1:0"}
        for name, *_ in MARKETS:
            section = f"CANDLEWICK__EXCHANGES__{name.upper()}__"
            environment[f"{section}REST_URL"] = f"http://{address}"
            environment[f"{section}WS_URL"] = f"ws://{address}"
        service, door = started([candlewick], folder, environment, r"listening\",\"address\":\"([^\"]+)")
        try:
            until = int(time.time() * 1_000) // MINUTE * MINUTE - 5 * MINUTE
            for name, symbol, native, reach in MARKETS:
                since = until - reach * MINUTE
                theirs = pages(client(name, symbol, native, f"http://{address}"), symbol, since, until)
                ours = history(f"http://{door}", name, symbol, since, until)
                as_numbers = [[float(value) for value in row] for row in ours]
                if [[float(value) for value in row] for row in theirs] != as_numbers:
                    wrong = [pair for pair in zip(theirs, ours) if list(map(float, pair[0])) != list(map(float, pair[1]))]
                    sys.exit(f"{name}: {len(theirs)} of ccxt, {len(ours)} of ours; first difference {wrong[:1]}")
                print(f"{name}: {len(ours)} candles of {symbol}, the same with ccxt {ccxt.__version__}")
        finally:
            service.terminate()
            world.terminate()


main()
