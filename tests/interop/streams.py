"""Runs the example clients of docs/STREAMING.md against candlewick with simulated exchanges: the Python client
unchanged, the JavaScript client in headless Chromium if it is installed.

Usage: streams.py PATH/TO/candlewick        (needs the package websockets; `make interop` installs it)
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

from service import start

TRADES = 10
DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "STREAMING.md"


def code_block(language):
    return re.search(rf"```{language}\n(.*?)\n```", DOCUMENT.read_text(), re.S).group(1)


def check(name, command, pattern):
    """Runs a client until it has printed TRADES trades, at most a minute. Checks that no sequence number is missing."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    timer = threading.Timer(60, process.kill)
    timer.start()
    numbers, output = [], []
    for line in process.stdout:
        output.append(line)
        match = re.search(pattern, line)
        if match:
            numbers.append(int(match.group(1)))
        if len(numbers) == TRADES:
            break
    timer.cancel()
    process.kill()
    is_contiguous = len(numbers) == TRADES and all(b == a + 1 for a, b in zip(numbers, numbers[1:]))
    if not is_contiguous:
        sys.exit(f"{name}: {numbers}\n{''.join(output)}")
    print(f"{name}: received trades {numbers[0]} to {numbers[-1]}, each once")


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        environment = {"CANDLEWICK__DATA": "simulated", "CANDLEWICK__SERVER__LISTEN": "127.0.0.1:0",
                       "CANDLEWICK__LOG__FORMAT": "json"}
        command = [binary, "--clock-speed", "20"]
        service, address = start(command, folder, environment, r'"address":"([^"]+)"')
        try:
            url = f"ws://{address}/v1/stream"
            client = pathlib.Path(folder) / "client.py"
            client.write_text(code_block("python"))
            check("Python's websockets", [sys.executable, str(client), url], r"^(\d+) ")
            browser = shutil.which("chromium") or shutil.which("chromium-browser")
            if not browser:
                print("chromium is not installed: skipped the JavaScript client")
                return
            page = pathlib.Path(folder) / "page.html"
            script = code_block("javascript").replace('"ws://127.0.0.1:8000/v1/stream"', f'"{url}"')
            page.write_text(f"<!doctype html><script>{script}</script>")
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                       f"--user-data-dir={folder}/profile"]
            check("chromium", [browser, *options, page.as_uri()], r'CONSOLE.*?"(\d+) ')
        finally:
            service.kill()


main()
