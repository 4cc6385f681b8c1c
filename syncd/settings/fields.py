"""Forms in which a value may be written: durations with their unit, URLs that keep a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
LONGEST = timedelta(days=36500)  # what lies before the year 1, counted back from now, is no instant


def duration(value: object) -> timedelta:
    """`"15m"`, `"1h30m"`, `"0d"` as a timedelta; ValueError for anything without a unit."""
    if isinstance(value, timedelta):
        return value
    found = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdw])", str(value))
    if not found or "".join(number + unit for number, unit in found) != str(value).replace(" ", ""):
        raise ValueError('write a number with its unit: "90s", "15m", "12h", "30d"')
    seconds = sum(float(number) * UNITS[unit] for number, unit in found)
    if seconds > LONGEST.total_seconds():
        raise ValueError('too long: write at most "36500d"')
    return timedelta(seconds=seconds)


def size(value: object) -> int:
    """`"500MB"`, `"2TB"` in bytes; ValueError for anything without a unit."""
    if isinstance(value, int):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT])B", str(value))
    if not found:
        raise ValueError('write a number with its unit: "500MB", "200GB", "2TB"')
    return int(float(found[1]) * 1000 ** ("kMGT".index(found[2]) + 1))


def positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return value


def safe_url(value: str) -> str:
    """An https URL, or http to this machine itself."""
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("write a whole URL that begins with https://")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise ValueError("plain http would show the secret to the network: write https://")
    return value


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself, without asking DNS."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def job_ids(value: object) -> object:
    """`"all"`, a list of ids, or (from the environment) ids with commas between."""
    if isinstance(value, str):
        return None if value == "all" else frozenset(filter(None, re.split(r"[\s,\[\]\"']+", value)))
    if isinstance(value, Iterable):
        return frozenset(str(one) for one in value)
    return frozenset([str(value)]) if isinstance(value, int) else value


Duration = Annotated[timedelta, BeforeValidator(duration)]
Size = Annotated[int, BeforeValidator(size)]
Interval = Annotated[Duration, AfterValidator(positive)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
