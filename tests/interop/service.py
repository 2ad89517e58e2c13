"""Starts the program and waits until it listens."""

import re
import subprocess
import sys


def started(command, folder, environment, mark):
    """The process, and what stands behind `mark` in the first line of its log that has it."""
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        found = re.search(mark, line)
        if found:
            # Whatever it says later goes nowhere, but must not fill the pipe.
            subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            return process, found.group(1)
    sys.exit(f"{command[0]} ended before it listened")
