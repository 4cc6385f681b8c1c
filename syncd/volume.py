"""What the disk will hold once all is steady: judged by the last week, in which as much came as will come."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from syncd.destinations.lake.history import Week
from syncd.settings import LandingSettings

WEEK = timedelta(days=7)
SOON_FULL = 30  # days
MORE_ROOM = "make room or move data_dir; landing.keep and landing.cap say how much of the originals stays"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Volume:
    """Bytes."""

    landed_per_day: int  # as the vendor sent them
    stored_per_day: int  # as Parquet
    landing_settles_at: int  # what landing/ holds when as much goes as comes
    free: int
    landing_to_come: int = 0  # what landing/ will hold more than now

    @property
    def days_left(self) -> float | None:
        """Until the disk is full: while landing/ still grows both fill it, then the tables alone. None: it never is."""
        each_day = self.stored_per_day + self.landed_per_day
        if each_day and self.free * self.landed_per_day < self.landing_to_come * each_day:
            return self.free / each_day
        return (self.free - self.landing_to_come) / self.stored_per_day if self.stored_per_day else None

    def as_answer(self) -> dict[str, Any]:
        """For `status --json`; days until the disk is full at this pace."""
        plain = {key: value for key, value in asdict(self).items() if key not in ("free", "landing_to_come")}
        return plain | {"days_left": round(self.days_left, 1) if self.days_left is not None else None}


def volume(week: Week, landing: LandingSettings, free: int, now: datetime) -> Volume:
    """From what was loaded in the last week."""
    landed, stored, first, began = week
    if first is None or began is None:
        return Volume(0, 0, 0, free)
    days = max(DAY, now - first) / DAY
    per_day = int(landed / days)
    cap = min(int(per_day * landing.keep / DAY), landing.cap or sys.maxsize)
    here = min(cap, int(per_day * max(DAY, now - began) / DAY))  # had every day brought as much
    return Volume(per_day, int(stored / days), cap, free, cap - here)
