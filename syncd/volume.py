"""What the disk will hold once all is steady: judged by the last week, in which as much came as will come."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from syncd.settings import LandingSettings

WEEK = timedelta(days=7)
SOON_FULL = 30  # days
MORE_ROOM = "make room or move data_dir; landing.keep and landing.cap say how much of the originals stays"
DAY_S = 86_400.0

Week = tuple[int, int, datetime | None]  # bytes as they came, bytes of their tables, when the first was loaded


@dataclass(frozen=True)
class Volume:
    """Bytes."""

    landed_per_day: int  # as the vendor sent them
    stored_per_day: int  # as Parquet
    landing_settles_at: int  # what landing/ holds when as much goes as comes
    free: int

    @property
    def days_left(self) -> float | None:
        """Until the disk is full, were landing/ as full as it will be; None: it never is."""
        return max(0.0, self.free / self.stored_per_day) if self.stored_per_day else None

    def as_answer(self) -> dict[str, Any]:
        """For `status --json`; days until the disk is full at this pace."""
        plain = {key: value for key, value in asdict(self).items() if key != "free"}
        return plain | {"days_left": round(self.days_left, 1) if self.days_left is not None else None}


def volume(week: Week, landing: LandingSettings, free: int, now: datetime) -> Volume:
    """From what was loaded in the last week."""
    landed, stored, first = week
    if first is None:
        return Volume(0, 0, 0, free)
    days = max(1.0, (now - first).total_seconds() / DAY_S)
    per_day = int(landed / days)
    settles = int(per_day * landing.keep.total_seconds() / DAY_S)
    return Volume(per_day, int(stored / days), settles if landing.cap is None else min(settles, landing.cap), free)
