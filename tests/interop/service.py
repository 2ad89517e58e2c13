"""Starts a program and waits for a line of its log."""

import re
import subprocess
import sys


def start(command, folder, environment, pattern):
    """Starts a process. Returns it and the first group of `pattern` in the first log line that matches."""
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        match = re.search(pattern, line)
        if match:
            # Discard the rest of the log, so that the pipe does not fill up.
            subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            return process, match.group(1)
    sys.exit(f"{command[0]} ended before it logged a line that matches {pattern}")
