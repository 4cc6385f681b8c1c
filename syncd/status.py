"""`syncd status` for people: a line a scope, in colours where somebody watches, once or for as long as they watch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from syncd import ledger
from syncd.reserve import HINT, room
from syncd.settings import Settings
from syncd.show import ago, minute, size
from syncd.volume import MORE_ROOM, SOON_FULL, volume

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

GOOD, NEAR, BAD, SOFT = "green", "yellow", "bold red", "dim"
ALL = ("scope", "complete up to", "newest period ends", "age", "runs", "slack", "last pass")
FEW = ("scope", "complete up to", "age", "runs", "slack")  # where the terminal is narrow
WIDE = 120  # characters, from which on there is room for all
WRAPS = ("scope", "runs")
BAD_STATES, NEAR_STATES = {"set_aside", "expired"}, {"waiting"}
URGENT_H, SOON_H = 12, 48  # of slack
EVERY_S, SHARE = 2.0, 10  # a look that takes a second is followed by a pause of ten


class Standing(NamedTuple):
    """All that is shown."""

    found: Mapping[str, Any]  # as `status --json` has it
    warnings: Iterable[str]
    at: datetime


def standing(settings: Settings) -> Standing:
    """What is so now, read without the lock."""
    seen, now, disk = ledger.look(settings), datetime.now(UTC), room(settings.data_dir)
    pace = volume(seen.history.lately, settings.landing, disk.free, now)
    found = ledger.status(seen, settings.sources, now, disk, pace, ledger.gaps(seen, now))
    return Standing(found, ledger.overlaps(seen.jobs), now)


def show(standing: Standing) -> None:
    """Print it once."""
    console = console_of()
    for each in shapes(standing, console.width):
        console.print(each, soft_wrap=isinstance(each, str) or not console.is_terminal)


def watch(look: Callable[[], Standing]) -> None:
    """Print it again and again, in place on a terminal, else whenever it has changed; until a signal."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    console = console_of()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                began, now = time.monotonic(), look()
                head = Text(f"as of {now.at:%Y-%m-%d %H:%M:%S} UTC; Ctrl-C ends it", style=SOFT)
                table, *said = shapes(now, console.width)
                live.update(Group(head, *said, table), refresh=True)  # what doesn't fit is cut off below
                time.sleep(max(EVERY_S, SHARE * (time.monotonic() - began)))
    before = ""
    while True:
        began, now = time.monotonic(), look()
        with console.capture() as captured:
            for each in shapes(now, console.width):
                console.print(each, soft_wrap=True)
        if captured.get() != before:
            before = captured.get()
            sys.stdout.write(f"as of {now.at:%Y-%m-%d %H:%M:%S} UTC\n{before}")
            sys.stdout.flush()
        time.sleep(max(EVERY_S, SHARE * (time.monotonic() - began)))


def console_of() -> Console:
    """As wide as its values where nobody watches."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(width=10_000, highlight=False)


def shapes(standing: Standing, width: int) -> list[RenderableType]:
    """The table, what is wrong with the next thing to type, and one last line that sums it up."""
    from rich.text import Text

    found = standing.found
    said: list[RenderableType] = [table(found["sources"], ALL if width >= WIDE else FEW)]
    for name, source in found["sources"].items():
        if source["error"]:
            said += [Text(f"{name}: {source['error']}", style=BAD), f"  → {source['hint']}"]
        for run in source["overdue"]:
            said.append(Text(f"{name}/{run} is overdue: nobody has handed its files over", style=BAD))
            said.append("  → syncd runs --state waiting")
        for run, rows in source["lost"].items():
            said.append(Text(f"{name}/{run}: {rows:,} of its rows are lost for good, as was accepted", style=NEAR))
        for run in source["superseded_by_fewer_rows"]:
            said.append(Text(f"{name}/{run} was superseded by a run with fewer rows; its files are kept", style=NEAR))
            said.append("  → compare the two in _syncd.runs: the vendor may have purged")
    if (disk := found["disk"])["downloads_paused"]:
        free, kept = size(disk["free"]), size(disk["reserve"])
        told = f"downloads are paused: {free} of the disk are free, {kept} are kept for commits"
        said += [Text(told, style=BAD), f"  → {HINT}"]
    if disk["landed_per_day"]:
        brings, stay, settles = (size(disk[key]) for key in ("landed_per_day", "stored_per_day", "landing_settles_at"))
        said.append(
            f"disk: {size(disk['free'])} free; a day brings {brings}, of which {stay} stay as tables; "
            f"landing/ settles at {settles}"
        )
        if is_soon_full(disk):
            told = f"warning: {disk['days_left']:.0f} days left at last week's pace"
            said += [Text(told, style=NEAR), f"  → {MORE_ROOM}"]
    said += [Text(f"warning: {warning}", style=NEAR) for warning in standing.warnings]
    return [*(Text(one) if isinstance(one, str) else one for one in said), summary(found)]


def table(sources: Mapping[str, Any], columns: Sequence[str]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in ("age", "slack") else "left"
        shown.add_column(column, overflow="fold", justify=justify, no_wrap=column not in WRAPS)
    for name, source in sources.items():
        for scope, fresh in (source["scopes"] or {"": {}}).items():
            cells: dict[str, RenderableType] = {
                "scope": Text(f"{name}.{scope}" if scope else name, style=BAD if source["error"] else ""),
                "complete up to": minute(fresh.get("complete_up_to")),
                "newest period ends": minute(fresh.get("newest_period_end")),
                "age": ago(fresh.get("age")),
                "runs": states(fresh.get("runs", source["runs"])),
                "slack": slack(source["slack_hours"]) if source["runs"] else Text("–", style=SOFT),  # noqa: RUF001
                "last pass": Text(minute(source["last_pass_at"]), style=SOFT),
            }
            shown.add_row(*(cells[column] for column in columns))
    return shown


def states(counts: Mapping[str, int]) -> RenderableType:
    from rich.text import Text

    told = Text()
    for state, count in counts.items():
        style = BAD if state in BAD_STATES else NEAR if state in NEAR_STATES else ""
        told.append(", " if told else "").append(f"{count} {state}", style=style)
    return told or Text("none", style=SOFT)


def slack(hours: float | None) -> RenderableType:
    from rich.text import Text

    if hours is None:
        return Text("–", style=SOFT)  # noqa: RUF001
    return Text(ago(max(hours, 0) * 3600), style=BAD if hours < URGENT_H else NEAR if hours < SOON_H else "")


def summary(found: Mapping[str, Any]) -> RenderableType:
    from rich.text import Text

    never = [name for name, source in found["sources"].items() if not source["last_pass_at"]]
    if never:
        return Text(f"no pass has ended yet over {', '.join(never)}: syncd once", style=NEAR)
    if look := where_to_look(found):
        return Text(f"something needs you: {', '.join(look)}", style=BAD)
    return Text("all is well", style=GOOD)


def is_soon_full(disk: Mapping[str, Any]) -> bool:
    return disk["days_left"] is not None and disk["days_left"] < SOON_FULL


def where_to_look(found: Mapping[str, Any]) -> list[str]:
    """Where to look for what is wrong: mostly a command."""
    sources = found["sources"].values()
    wrong = {
        "syncd check": any(source["error"] for source in sources),
        "syncd runs --state set_aside": any("set_aside" in source["runs"] for source in sources),
        "syncd runs --state waiting": any(source["overdue"] for source in sources),
        "syncd gaps": found["gaps"] > 0,
        "the disk": is_soon_full(found["disk"]),
    }
    return [command for command, is_so in wrong.items() if is_so] or ([] if found["ok"] else ["syncd runs"])
