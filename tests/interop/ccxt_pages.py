"""Reads the same range with ccxt, from the simulated exchanges, and with candlewick, and compares every candle.

Usage: ccxt_pages.py PATH/TO/candlewick        (needs the package ccxt; `make interop` installs it)
"""

import json
import os
import re
import sys
import tempfile
import time
import urllib.request

import ccxt

from service import start

MINUTE = 60_000
# Exchange, symbol, native symbol, and the number of past minutes to read.
MARKETS = [
    ("binance", "BTC/USDT", "BTCUSDT", 2_500),
    ("kraken", "BTC/USD", "XXBTZUSD", 700),
    ("coinbase", "BTC/USD", "BTC-USD", 1_500),
    ("okx", "BTC/USDT", "BTC-USDT", 1_300),
    ("bybit", "BTC/USDT", "BTCUSDT", 2_500),
]


def client(name, symbol, native, origin):
    """The ccxt client of an exchange, with `origin` as its base URL."""
    exchange = getattr(ccxt, name)({"enableRateLimit": True})
    exchange.urls["api"] = json.loads(re.sub(r"https://[^/\"]+", origin, json.dumps(exchange.urls["api"])))
    base, quote = symbol.split("/")
    market = {"id": native, "symbol": symbol, "base": base, "quote": quote, "baseId": base, "quoteId": quote,
              "type": "spot", "spot": True, "active": True}
    exchange.set_markets([exchange.safe_market_structure(market)])
    return exchange


def pages(exchange, symbol, since, until):
    """Reads all candles of a range page by page, as users of ccxt do."""
    rows = []
    while since < until:
        page = [row for row in exchange.fetch_ohlcv(symbol, "1m", since, 300) if since <= row[0] < until]
        if not page:
            break
        rows += page
        since = page[-1][0] + MINUTE
    return rows


def history(service, name, symbol, since, until):
    """Reads the same range from candlewick once it is complete."""
    url = f"{service}/v1/history?exchange={name}&symbol={symbol}&start={since}&end={until}&limit=5000&format=array"
    for _ in range(100):
        with urllib.request.urlopen(url) as response:
            if response.headers["Candlewick-Complete"] == "true":
                return json.load(response)
        time.sleep(0.2)
    sys.exit(f"timed out waiting until {url} is complete")


def numbers(rows):
    return [[float(value) for value in row] for row in rows]


def main():
    candlewick = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        simulator, address = start([candlewick, "simulate", "--listen", "127.0.0.1:0"], folder, {}, r"on http://(\S+)")
        environment = {"CANDLEWICK__DATA": "live", "CANDLEWICK__SERVER__LISTEN": "127.0.0.1:0"}
        for name, *_ in MARKETS:
            section = f"CANDLEWICK__EXCHANGES__{name.upper()}__"
            environment[f"{section}REST_URL"] = f"http://{address}"
            environment[f"{section}WS_URL"] = f"ws://{address}"
        service, service_address = start([candlewick], folder, environment, r"listening\",\"address\":\"([^\"]+)")
        try:
            until = int(time.time() * 1_000) // MINUTE * MINUTE - 5 * MINUTE
            for name, symbol, native, minutes in MARKETS:
                since = until - minutes * MINUTE
                theirs = pages(client(name, symbol, native, f"http://{address}"), symbol, since, until)
                ours = history(f"http://{service_address}", name, symbol, since, until)
                if numbers(theirs) != numbers(ours):
                    different = [pair for pair in zip(numbers(theirs), numbers(ours)) if pair[0] != pair[1]]
                    counts = f"{len(theirs)} candles from ccxt, {len(ours)} from candlewick"
                    sys.exit(f"{name}: {counts}; first difference {different[:1]}")
                print(f"{name}: {len(ours)} candles of {symbol} are identical with ccxt {ccxt.__version__}")
        finally:
            service.terminate()
            simulator.terminate()


main()
