"""Leaving on a signal: in any state of the process, with a line that is true."""

import signal
import sys

import pytest

import listening

# A process that does not notice the signal, whose farewell does what the placeholder says.
DEAF = """
import sys, time
from smelt.interrupting import Interruption
def farewell():
    %s
with Interruption() as interruption:
    interruption.farewell = farewell
    try:
        print("ready", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("return 'smelt: gone'", "smelt: gone\n"),
        ("sys.stderr.close(); return 'unheard'", ""),  # ValueError
        ("1 / 0", None),
        ("time.sleep(600)", ""),  # as on a disk that does not answer
    ],
)
def test_the_process_ends_whatever_the_farewell_does(number, does, said):
    command = [sys.executable, "-c", DEAF % does]
    process = listening.start(command)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    try:
        _, heard = process.communicate(timeout=20)  # far below what it sleeps
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert said is None or heard == said
