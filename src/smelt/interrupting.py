"""Leaving on Ctrl-C and on SIGTERM: in order where that is quick, and within a second in any case."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType

# How long an orderly way out may take.
GRACE_SECONDS = 0.7
# How long the farewell may take after that: the disk may not answer, and nobody read what is said.
FAREWELL_SECONDS = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While it is entered, SIGINT and SIGTERM raise ``KeyboardInterrupt`` in the main thread, the first time.

    While that one waits for workers or for the disk it notices late or never. So another thread hears of the signal as
    well, and ends the process when it is not gone in time, whatever its state: a run may be killed at any moment.

    ``farewell`` returns the line that says so on standard error, and may be set to another function.
    """

    def __init__(self) -> None:
        self.code = 128 + signal.SIGINT  # the exit code of a process that a signal has ended
        self.farewell: Callable[[], str] = lambda: "smelt: interrupted"
        self._lock = threading.Lock()
        self._raised = False
        self._said = False

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # nobody else may ask for signals
            self._inbox, self._outbox = socket.socketpair()
            self._outbox.setblocking(False)
            self._wakeup = signal.set_wakeup_fd(self._outbox.fileno(), warn_on_full_buffer=False)
            heard = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]  # as in a shell's background
            self._previous = {n: signal.signal(n, self._interrupt) for n in heard}
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if hasattr(self, "_previous"):
            for number, handler in self._previous.items():
                signal.signal(number, signal.SIG_IGN if self._raised else handler)
            signal.set_wakeup_fd(self._wakeup)
            self._outbox.close()

    def say_farewell(self) -> None:
        """Say it, once."""
        with self._lock:
            if not self._said:
                self._said = True
                with suppress(OSError, ValueError):  # who reads it may be gone, or the stream closed
                    print(self.farewell(), file=sys.stderr, flush=True)

    def _interrupt(self, number: int, _: FrameType | None) -> None:
        if not self._raised:
            self._raised = True
            self.code = 128 + number
            raise KeyboardInterrupt

    def _watch(self) -> None:
        with self._inbox:
            heard = self._inbox.recv(1)
            while heard and heard[0] not in self._previous:  # a signal that others ask for
                heard = self._inbox.recv(1)
        if heard:  # nothing once the other end is closed
            self.code = 128 + heard[0]
            time.sleep(GRACE_SECONDS)
            try:
                speaker = threading.Thread(target=self.say_farewell, daemon=True)
                speaker.start()
                speaker.join(FAREWELL_SECONDS)
            finally:
                os._exit(self.code)
