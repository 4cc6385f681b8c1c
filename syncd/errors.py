"""Every trouble syncd has an answer to, named by the answer.

    SyncdError
    ├── ConfigError   stop: the operator acts
    ├── TryAgain      wait and repeat (Advanced: it got further before it broke, so patience begins anew;
    │                 Unsent: an export that was surely not asked for)
    ├── LinkExpired   list the parts again and go on
    ├── StartOver     forget what was staged, or what was asked for, and begin again
    ├── HandOver      note that the run waits for files that a person must bring
    └── BadRun        set the run aside, tell, go on with the others (Barred: a right is missing, so it is tried again
                      by itself, ever more slowly)

Anything else is a bug: it ends the process, the supervisor starts it again, and nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Any

# the query of a URL is where signatures stand; an authorization is as good as a password, unlike a "basic description"
SIGNED = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]+")
AUTHORIZATION = re.compile(r"\b((?i:bearer|basic)) (?![a-z]+(?:[\s,;:.)\"']|$))[A-Za-z0-9._~+/=-]{8,}")


def scrub(text: str) -> str:
    """`text` without the query of any URL and without any authorization."""
    return AUTHORIZATION.sub(r"\1 …", SIGNED.sub(r"\1?…", text))


class SyncdError(Exception):
    """The class is the answer, the hint the operator's next step. Neither holds a secret or a signed URL: what a
    vendor said stands in the message, and what looks like one is cut even if a caller slips."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:  # a default: unpickling passes only args
        super().__init__(scrub(message))
        self.hint = hint


class ConfigError(SyncdError):
    """Stop, and say what to change: a wrong key, refused credentials, an unusable folder."""

    exit_code = 2


class TryAgain(SyncdError):
    """Wait and repeat. `after` is the pause the far side asked for, in seconds, or None for our own."""

    exit_code = 75

    def __init__(self, message: str, *, hint: str = "", after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class Advanced(TryAgain):
    """Wait and repeat as well; but it got further than the last time, so patience begins anew."""


class Unsent(TryAgain):
    """Wait and repeat, without a doubt: what we asked a vendor to make was surely not taken."""


class LinkExpired(SyncdError):
    """The link of a part works no longer: list the parts of the run again and go on where the bytes end."""

    exit_code = 75


class StartOver(SyncdError):
    """Something that was staged is gone or torn: forget it and stage the run again."""

    exit_code = 75


class HandOver(SyncdError):
    """The vendor gives the files of this run to a person only: it waits until they are handed over."""

    exit_code = 75


class BadRun(SyncdError):
    """Set the run aside, tell, and go on with the others. `parts`: what the vendor has of it, to be landed first."""

    def __init__(self, message: str, *, hint: str = "", parts: Sequence[Any] = ()) -> None:
        super().__init__(message, hint=hint)
        self.parts = parts


class Barred(BadRun):
    """Set it aside as well; but somebody may grant the right that is missing, so try it again, ever more slowly."""


def exit_code_of(codes: Container[int]) -> int:
    """What a command with these troubles ends with, the first that applies: refused, try again, wrong."""
    return next((code for code in (2, 75, 1) if code in codes), 0)
