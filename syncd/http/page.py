"""The status page: rendered here, whole at every look; all text is escaped, whoever wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from syncd import show
from syncd.outlook import DAYS, STATES, Outlook
from syncd.troubles import WORDS, troubles
from syncd.vitals import Carried

SHOWN, MOST = 5, 100  # troubles at once, and after a click

HERE = Path(__file__).parent
KINDS = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
STATIC = {f"/{name}": ((HERE / name).read_bytes(), kind) for name, kind in KINDS.items()}
# a state is never told by colour alone
MARKS = dict(zip(STATES, "‖✕?†…!↓·=✓", strict=True)) | {"": ""}

shapes = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
shapes.filters |= {
    "minute": show.minute,
    "ago": show.ago,
    "size": show.size,
    "number": lambda count: f"{count or 0:,}",
    "period": lambda run: show.period(run["period_start"], run["period_end"]),
}


def page(seen: Outlook, carried: Sequence[Carried], expiring_within: timedelta) -> str:
    """The whole page."""
    return shapes.get_template("page.html").render(
        seen=seen,
        carried=carried,
        pace=seen.status["disk"],
        troubles=[(one.about, f"{WORDS[one.kind]}: {one.error}", one.hint) for one in troubles(seen, expiring_within)],
        marks=MARKS,
        words=STATES,
        days=DAYS,
        took=took,
        slack=slack,
        SHOWN=SHOWN,
        MOST=MOST,
    )


def took(run: dict[str, Any]) -> str:
    """From the vendor's completion to readers."""
    return show.ago((run["loaded_at"] - run["completed_at"]).total_seconds()) if run["loaded_at"] else ""


def slack(source: dict[str, Any]) -> tuple[str, str]:
    """How long until a file dies, and how that is."""
    hours = source["slack_hours"]
    if hours is None:
        return ("not known", "near") if source["error"] else ("nothing is waiting", "good")
    return show.ago(max(hours, 0) * 3600), "bad" if hours < 12 else "near" if hours < 48 else ""
