"""Checks the OpenAPI document with two linters, schemathesis with all checks, and a generated client.

    contract.py PROGRAM [EXAMPLES]
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request

from openapi_spec_validator import validate
from service import start

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.path.dirname(sys.executable)

CLIENT = """
import sys
from candlewick_client import AuthenticatedClient
from candlewick_client.api.market_data import get_history, get_ticker

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
ticker = get_ticker.sync(client=client, exchange="binance", symbol="BTC/USDT")
print("ticker", ticker.symbol, ticker.last)
assert ticker.symbol == "BTC/USDT" and ticker.last > 0
page = get_history.sync(client=client, exchange="binance", symbol="BTC/USDT", limit=5)
print("candles", [candle.close for candle in page.candles])
assert len(page.candles) == 5 and page.candles[-1].close > 0
"""


def run(command, **more):
    print("+", " ".join(command), flush=True)
    subprocess.run(command, check=True, **more)


def serve(program, folder, auth_required):
    """Starts the service with or without required keys. Returns the process, the base URL and an `admin` key."""
    environment = {
        **os.environ,
        "CANDLEWICK__DATA": "simulated",
        # Not loopback, so that writes need a key. The clients connect from this machine.
        "CANDLEWICK__SERVER__LISTEN": "0.0.0.0:0",
        "CANDLEWICK__AUTH__REQUIRED": "true" if auth_required else "false",
        "CANDLEWICK__LIMITS__PER_MINUTE": "0",
        "CANDLEWICK__LOG__FORMAT": "text",
        "NO_COLOR": "1",
    }
    create = [program, "keys", "create", "--name", "contract", "--scopes", "admin"]
    key = subprocess.run(create, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    process, port = start([program], folder, environment, r"listening.*0\.0\.0\.0:(\d+)")
    base = f"http://127.0.0.1:{port}"
    while True:
        try:
            urllib.request.urlopen(f"{base}/readyz")
            return process, base, key
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise


def main():
    program, examples = os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "50"
    for auth_required in [False, True]:
        with tempfile.TemporaryDirectory() as folder:
            process, base, key = serve(program, folder, auth_required)
            try:
                if not auth_required:
                    document = json.load(urllib.request.urlopen(f"{base}/openapi.json"))
                    validate(document)
                    print("openapi-spec-validator: valid", document["openapi"])
                    if shutil.which("npx"):
                        config = os.path.join(HERE, "redocly.yaml")
                        run(["npx", "--yes", "@redocly/cli@2.10.0", "lint", "--config", config, f"{base}/openapi.json"])
                    else:
                        print("npx is not installed: skipped the second linter")
                    generator = os.path.join(BIN, "openapi-python-client")
                    client = os.path.join(folder, "client")
                    run([generator, "generate", "--url", f"{base}/openapi.json", "--output-path", client,
                         "--fail-on-warning", "--config", os.path.join(HERE, "generator.yaml")],
                        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"})
                    run([sys.executable, "-c", CLIENT, base, key], cwd=client)
                schemathesis = os.path.join(BIN, "schemathesis")
                config = os.path.join(HERE, "schemathesis.toml")
                run([schemathesis, "--config-file", config, "run", f"{base}/openapi.json", "--checks", "all",
                     "--max-examples", examples, "--header", f"Authorization: Bearer {key}"], cwd=folder)
            finally:
                process.terminate()
                assert process.wait() == 0


main()
