"""Runs the clients of docs/STREAMING.md against a simulated candlewick: the Python one as it stands, the JavaScript one in a
real browser where there is one (chromium, headless).

Usage: streams.py PATH/TO/candlewick        (needs the package websockets; `make interop` sees to it)
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

from service import started

TRADES = 10
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "STREAMING.md"


def code(language):
    return re.search(rf"```{language}\n(.*?)\n```", PAGE.read_text(), re.S).group(1)


def follow(name, command, mark):
    """The numbers of the first trades that a client prints; it is ended then, or after a minute."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    timer = threading.Timer(60, process.kill)
    timer.start()
    numbers, said = [], []
    for line in process.stdout:
        said.append(line)
        found = re.search(mark, line)
        if found:
            numbers.append(int(found.group(1)))
        if len(numbers) == TRADES:
            break
    timer.cancel()
    process.kill()
    whole = len(numbers) == TRADES and all(b == a + 1 for a, b in zip(numbers, numbers[1:]))
    if not whole:
        sys.exit(f"{name}: {numbers}\n{''.join(said)}")
    print(f"{name}: {TRADES} trades, {numbers[0]} to {numbers[-1]}, each once")


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        environment = {"CANDLEWICK__DATA": "simulated", "CANDLEWICK__SERVER__LISTEN": "127.0.0.1:0",
                       "CANDLEWICK__LOG__FORMAT": "json"}
        command = [binary, "--clock-speed", "20"]
        service, address = started(command, folder, environment, r'"address":"([^"]+)"')
        try:
            url = f"ws://{address}/v1/stream"
            client = pathlib.Path(folder) / "client.py"
            client.write_text(code("python"))
            follow("Python's websockets", [sys.executable, str(client), url], r"^(\d+) ")
            browser = shutil.which("chromium") or shutil.which("chromium-browser")
            if not browser:
                print("no chromium here: the browser is not tried")
                return
            page = pathlib.Path(folder) / "page.html"
            script = code("javascript").replace('"ws://127.0.0.1:8000/v1/stream"', f'"{url}"')
            page.write_text(f"<!doctype html><script>{script}</script>")
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={folder}/profile"]
            follow("chromium", [browser, *options, page.as_uri()], r'CONSOLE.*?"(\d+) ')
        finally:
            service.kill()


main()
