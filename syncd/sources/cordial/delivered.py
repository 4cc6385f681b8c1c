"""What earlier exports left in the zone, and what that settles: names, arrival, packing, dialect, the forms of rows.

Looks at the youngest jobs of each export, and reads the beginning of their files. Nothing is written there.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson

from syncd.fetch.seen import tally
from syncd.fetch.shapes import Shapes, unpacked
from syncd.model import Finding
from syncd.sources.cordial import pickup
from syncd.sources.cordial.api import ENDED, Job, instant
from syncd.sources.cordial.dictionary import declared
from syncd.sources.cordial.exports import Export, ours_in, start_in
from syncd.sources.cordial.parameters import SNAPSHOTS
from syncd.sources.cordial.peek import BOM, DELIMITERS
from syncd.sources.cordial.pickup import Found
from syncd.sources.cordial.zone import Zone

JOBS = 4  # of each export that are looked at
FILES = 3  # of each of these
MOST = 4 << 20  # bytes of a file that are read
CLOCKS = timedelta(seconds=2)  # that two clocks and a time in whole seconds may differ
ENDINGS = ("json", "jsonl", "csv", "txt", "gz", "zip", "part")
Delivery = tuple[Export, str, list[Found]]  # the name of a job of ours, and its files


class Delivered:
    """One look at the zone. `job_of`: the job that was asked for under a name."""

    def __init__(self, zone: Zone, exports: Sequence[Export], job_of: Callable[[str], Job | None]) -> None:
        self._zone, self._exports, self._job_of = zone, exports, job_of

    def findings(self) -> Iterator[Finding]:
        if self._zone.is_by_hand:
            yield Finding("files", "", "only a person can have them: zone is aws")
            return
        deliveries = [one for export in self._exports for one in self._youngest(export)]
        if not deliveries:
            yield Finding("files", "", "no export of ours lies in the zone: probe once more behind the first pass")
            return
        files = [file for *_, some in deliveries for file in some]
        yield tally("files lie", ("beside the job's folder" if "../" in file.name else "in it" for file in files))
        yield tally("names of files", (form_of(name, file) for _, name, some in deliveries for file in some))
        yield from self._arrival(deliveries)
        yield tally("an export without rows leaves", filter(None, map(self._emptiness, deliveries)))
        for export in self._exports:
            mine = [some for of, _, some in deliveries if of is export]
            heads = [[self._head(file) for file in some[:FILES]] for some in mine]
            yield from of_files(export, [one for some in heads for one in some], heads)
        yield from self._frames(deliveries)

    def _youngest(self, export: Export) -> list[Delivery]:
        found = {ours_in(export.prefix, name) for name in pickup.names(self._zone, f"{export.prefix}-")} - {""}
        return [(export, name, pickup.files(self._zone, name)) for name in sorted(found, reverse=True)[:JOBS]]

    def _head(self, file: Found) -> bytes:
        return pickup.head(self._zone, file.path, MOST)

    def _arrival(self, deliveries: Sequence[Delivery]) -> Iterator[Finding]:
        """When files are there, against when their job says that it ended."""
        late = [
            (file.at - job.ended_at)
            for _, name, some in deliveries
            if (job := self._job_of(name)) and job.ended_at
            for file in some
            if file.at
        ]
        worst = max(late, default=timedelta(0))
        told = f"up to {worst.total_seconds():.0f} s behind Done" if worst > CLOCKS else "by Done"
        yield Finding("files are whole", told if late else "", f"{len(late)} files of jobs that are listed")

    def _emptiness(self, delivery: Delivery) -> str:
        """What a job left that delivered no row; "" when it has some, or works still."""
        _, name, files = delivery
        job = self._job_of(name)
        if not files:
            return "no file" if job and job.status == ENDED else ""
        lines = [unpacked(self._head(file)).plain.strip() for file in files]
        if not any(lines):
            return "an empty file"
        is_alone = len(files) == 1 and not lines[0].startswith(b"{") and b"\n" not in lines[0]
        return "a header only" if is_alone else ""

    def _frames(self, deliveries: Sequence[Delivery]) -> Iterator[Finding]:
        """What the timeframe means: whether its end belongs to it, whose time it filters, what amounts count."""
        at_end = inside = outside = 0
        known: dict[str, set[str]] = {}
        counts: Counter[str] = Counter()
        for export, name, files in deliveries:
            start = start_in(export.prefix, name)
            rows = [row for file in files for row in json_rows(self._head(file))]
            if start is None or export.endpoint in SNAPSHOTS or not rows:
                continue
            first, end = start - export.overlap, start + export.window
            times = [at for row in rows if (at := instant(row.get("time", row.get("ats"))))]
            at_end += sum(at == end for at in times)
            inside += sum(first <= at <= end for at in times)
            outside += sum(not first <= at <= end for at in times)
            for row in rows:
                known.setdefault(str(row.get("_id")), set()).add(str(row.get("cID")))
            job = self._job_of(name)
            if job and job.amount is not None and all(file.size < MOST for file in files):
                counts["the rows" if job.amount == len(rows) else "something else"] += 1
        seen = f"{inside + outside:,} events, {at_end} at the very end"
        asked_whole = any(export.overlap for export, *_ in deliveries)
        end_is_in = "is in it" if at_end else "is not in it" if inside and asked_whole else ""
        yield Finding("the end of a timeframe", end_is_in, seen if asked_whole or at_end else f"{seen}; not asked for")
        whose = "the event's time" if not outside else "another time than the event's"
        yield Finding("a timeframe filters by", whose if inside + outside else "", f"{outside} events lie outside")
        yield tally("amounts of a job count", counts.elements())
        twice = [len(contacts) > 1 for id, contacts in known.items() if id != "None"]
        yield Finding("contacts merged under an event", str(sum(twice)) if twice else "", f"{len(twice):,} events")


def of_files(export: Export, heads: Sequence[bytes], by_job: Sequence[Sequence[bytes]]) -> Iterator[Finding]:
    """Packing, dialect and rows of an export's files."""
    where = f" ({export.endpoint}, {export.format or 'no format asked for'})"
    packed = [unpacked(head) for head in heads if head]
    if not packed:
        return
    yield tally(f"files are packed{where}", ("gzip" if one.is_gzip else "not" for one in packed))
    texts = [one.plain for one in packed if one.plain.strip()]
    if not texts:
        return
    is_json = texts[0].removeprefix(BOM).lstrip().startswith(b"{")
    yield Finding(f"files are{where}", "JSON lines" if is_json else "CSV", f"{len(texts)} looked at")
    if is_json:
        found = of_json(export, texts)
    else:
        found = of_csv(export, texts, [[unpacked(head).plain for head in some] for some in by_job])
    for one in found:
        yield Finding(one.unknown + where, one.answer, one.seen)


def of_json(export: Export, texts: Sequence[bytes]) -> Iterator[Finding]:
    columns = {column.name: column for column in declared(export).columns}
    shapes = Shapes(columns)
    names: Counter[str] = Counter()
    without = 0
    for text in texts:
        lines = text.split(b"\n")[: -1 if len(text) >= MOST else None]
        shapes.take(lines)
        rows = list(json_rows(text))
        names["public"] += sum("time" in row for row in rows)
        names["raw"] += sum("ats" in row for row in rows)
        without += sum("_id" not in row for row in rows)
    yield tally("names of keys", names.elements())
    yield tally("grouped columns", shapes.groups.elements())
    yield tally("times", shapes.times.elements())
    yield tally("first is", shapes.kinds["first"].elements())
    yield tally("missing values", shapes.missing.elements())
    if "_id" in columns:
        yield Finding("rows without _id", str(without), f"of {shapes.lines:,}")
    misfits = "; ".join(f"{name}: {', '.join(forms)}" for name, forms in sorted(shapes.misfits().items()))
    yield Finding("declared columns in another form", misfits or "none")
    yield Finding("columns that nobody declared", str(len(shapes.undeclared)))
    yield Finding("lines that are no object", str(shapes.broken))


def of_csv(export: Export, texts: Sequence[bytes], by_job: Sequence[Sequence[bytes]]) -> Iterator[Finding]:
    known = {column.name.casefold() for column in declared(export).columns} | {"ats", "a", "sp"}

    def has_header(text: bytes) -> bool:
        line = text.removeprefix(BOM).partition(b"\n")[0].decode("utf-8", "replace")
        return any(name.strip('"\r ').casefold() in known for name in re.split("[,;\t|]", line))

    several = [[has_header(text) for text in some if text] for some in by_job if len(some) > 1]
    alone = [has_header(text) for text in texts]
    form = "on each file" if all(alone) else "on none" if not any(alone) else "on the first file"
    yield Finding("header", form, f"{len(several)} exports of several files")
    yield tally("byte order mark", ("yes" if text.startswith(BOM) else "no" for text in texts))
    yield tally("lines end with", ("CR LF" if b"\r\n" in text else "LF" for text in texts))
    line = texts[0].partition(b"\n")[0]
    names = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
    yield Finding("delimiter", names[max(DELIMITERS, key=lambda each: line.count(each.encode()))])
    cells = [cell for text in texts for row in csv_rows(text) for cell in row]
    yield tally("nothing is spelled", (one for cell in cells if (one := nothing(cell))))
    signs = {"doubled": rb'[^,;\t]""', "escaped": rb'\\"(?!")'}
    quotes = [form for text in texts for form, sign in signs.items() if re.search(sign, text)]
    yield tally("quotes inside of quotes", quotes)


def nothing(cell: str) -> str:
    return "empty" if not cell else cell if cell in ("NULL", "null", "\\N", "None", "nil") else ""


def csv_rows(text: bytes) -> Iterator[list[str]]:
    """Records, as well as they can be told without knowing the dialect."""
    yield from csv.reader(text.decode("utf-8", "replace").splitlines())


def json_rows(head: bytes) -> Iterator[Mapping[str, Any]]:
    """The objects of the whole lines that the beginning of a file has."""
    for line in unpacked(head).plain.removeprefix(BOM).split(b"\n"):
        if line.startswith(b"{"):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(row, dict):
                yield row


def form_of(name: str, file: Found) -> str:
    """A file's name without ours, without numbers, without words that nobody knows."""
    behind = file.name.removeprefix("../").replace(name, "NAME")
    return re.sub(
        r"[A-Za-z]+|\d+",
        lambda one: one[0] if one[0] in ("NAME", *ENDINGS) else "#" if one[0].isdecimal() else "word",
        re.sub(r"[^A-Za-z0-9._/-]", "?", behind),
    )
