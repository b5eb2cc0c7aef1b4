"""Work that a test kills: a process forks for each piece of it, so that a kill costs no import."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

# The work says "begun" when what is under test begins, and whatever the test is to hear.
_LAUNCHER = """
import json, os, sys

def say(*words):
    os.write(1, (json.dumps(words) + "\\n").encode())

{work}

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(*json.loads(line))
            status = 0
        except BaseException as error:
            say("error", repr(error))
        finally:
            os._exit(status)
    say("started", child)
    _, status = os.waitpid(child, 0)
    say("ended", os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Ran:
    """A piece of work. said: its words; killed: whether the kill met it; seconds: from its beginning to its end."""

    said: list
    killed: bool
    seconds: float

    def of(self, word):
        """What was said under one word."""
        return [values for first, *values in self.said if first == word]


class Launcher:
    """Runs pieces of work, one after another. work: Python that defines a function `work` and calls `say`."""

    def __init__(self, work):
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER.replace("{work}", work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._said, self._child, self._begun, self._status = [], None, None, None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.end(is_failed=kind is not None)

    def end(self, *, is_failed=False):
        """End the launcher itself, which must have come to no harm."""
        self._process.communicate()
        assert is_failed or self._process.returncode == 0

    def begin(self, *arguments):
        """Start a piece of work, and wait until it has begun."""
        arguments = [str(one) if isinstance(one, os.PathLike) else one for one in arguments]
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        self._said, self._child, self._begun, self._status = [], None, None, None
        while self._status is None and (self._child is None or self._begun is None):
            self._hear()
        return self

    def kill(self):
        """End the work now, if it has not come to its end; return what became of it."""
        # Not yet waited for, or waited for just now: the number cannot be another's so soon.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)
        return self.finish()

    def finish(self):
        """Wait for the end of the work. An error in it fails the test."""
        while self._status is None:
            self._hear()
        assert self._status in (0, -signal.SIGKILL)
        return Ran(self._said, self._status != 0, time.monotonic() - (self._begun or time.monotonic()))

    def run(self, *arguments, kill_after=None):
        """Do one piece of work; kill it so many seconds after it has begun."""
        self.begin(*arguments)
        if kill_after is None:
            return self.finish()
        time.sleep(kill_after)  # the moment under test, no wait for anything
        return self.kill()

    def _hear(self):
        word, *values = json.loads(self._process.stdout.readline())
        assert word != "error", values
        if word == "started":
            self._child = values[0]
        elif word == "begun":
            self._begun = time.monotonic()
        elif word == "ended":
            self._status = values[0]
        else:
            self._said.append((word, *values))


class Moments:
    """When to kill: at random in the time that the work takes, which is measured, and corrected by what was missed."""

    def __init__(self, seed, what):
        self._random = random.Random(f"{seed}.{what}")
        self._seed = seed
        self._seconds = None
        self.kills = self.killed = 0

    def __repr__(self):
        return f"seed {self._seed}, kill {self.kills}"

    def of_a_row(self):
        """How often in a row one piece of work is killed before it is let finish."""
        return self._random.randint(1, 3)

    def time(self, launcher, *arguments):
        """Run all of the work once without a kill."""
        self._learn(launcher.run(*arguments).seconds)

    def kill(self, launcher, *arguments, share=1.0):
        """Run the work and kill it. share: of all of it that is left to do."""
        ran = launcher.run(*arguments, kill_after=self._random.uniform(0, self._seconds * share))
        self.kills += 1
        self.killed += ran.killed
        if not ran.killed:
            self._learn(ran.seconds / share)
        return ran

    def said(self):
        return f"{self.killed} of {self.kills} kills (seed {self._seed}) in the middle"

    def check(self):
        """Refuse a campaign most of whose kills came too late."""
        assert self.killed > self.kills // 2, self.said()

    def _learn(self, seconds):
        self._seconds = seconds if self._seconds is None else min(self._seconds, seconds)
