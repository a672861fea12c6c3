"""Processes that hear every signal, whatever the shell that runs the tests has told them to ignore."""

import signal
import subprocess


def start(command):
    """Start a process that writes text; from a background job it would inherit that SIGINT is ignored."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
