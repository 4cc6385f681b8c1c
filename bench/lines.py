"""Made session lines like Contentsquare's, in ClickHouse's two dialects: JSONEachRow and CSVWithNames.

About 800 bytes a line: ids above 2^63 (quoted in JSON), dotted arrays, escaped slashes, several columns of each kind,
three that nobody declared. Seeded; made a block at a time, so 4 GB cost the memory of one block.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

BLOCK = 16_384  # rows made at once
DAY = datetime(2026, 1, 5)  # noqa: DTZ001  # UTC, as the vendor writes it
FORMS = ("jsonl", "csv")

CITIES = ["Paris", "Zürich", "Kraków", "Windhoek", "北京", "L'Aquila", "Lyon", "Berlin", "Madrid", "Oslo"]
BROWSERS = ["Chrome", "Safari", "Firefox", "Samsung Internet", "Edge", ""]
PLATFORMS = ["Mac OS", "Windows", "Android", "iOS", "Linux", ""]
REFERERS = [f"https://www.site{n}.test/c/{n * 7919}/list?page={n % 9}&utm=a%2Fb" for n in range(5000)] + [""] * 3000
PATHS = [f"/c/shoes/{n * 104729 % 99991}/p-{n}.html" for n in range(9000)]
WORDS = ["control", "variant 1", 'a "quoted" word', "two\nlines", "it's", "back\\slash", "größer, 👟", "", "A", "B"]


class Texts:
    """Values that repeat: each spelled once for a dialect, then taken by number."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.null = "\\N" if form == "csv" else "null"

    def of(self, values: Sequence[str]) -> np.ndarray[Any, Any]:
        if self.form == "csv":
            return np.array(['"' + value.replace('"', '""') + '"' for value in values], object)
        return np.array([orjson.dumps(value).decode().replace("/", "\\/") for value in values], object)

    def ids(self, numbers: np.ndarray[Any, Any]) -> list[str]:
        """64-bit integers: quoted in JSON, bare in CSV."""
        quote = '"' if self.form == "jsonl" else ""
        return [f"{quote}{number}{quote}" for number in numbers.tolist()]

    def lists(self, texts: Sequence[Sequence[str]], *, quoted: bool) -> list[str]:
        """Arrays of these spellings, which need no escapes."""
        mark = "" if not quoted else "'" if self.form == "csv" else '"'
        around = '"' if self.form == "csv" else ""
        return [
            f"{around}[{mark}{f'{mark},{mark}'.join(each)}{mark}]{around}" if each else f"{around}[]{around}"
            for each in texts
        ]


def values(rng: np.random.Generator, form: str, rows: int, clock: Sequence[str]) -> dict[str, Sequence[Any]]:
    """The spelled values of `rows` sessions, by column. They stand by user, as the vendor's tables are sorted."""
    texts = Texts(form)

    def pick(choices: Sequence[str]) -> np.ndarray[Any, Any]:
        return texts.of(choices)[rng.integers(0, len(choices), rows)]

    users = np.sort(rng.integers(0, 2**64 - 1, rows // 2, np.uint64))[np.sort(rng.integers(0, rows // 2, rows))]
    seconds = rng.integers(0, 86_400, rows)
    times = [clock[second] for second in seconds.tolist()]
    began = seconds.tolist()
    events, bought = ((rng.integers(0, 4, rows) * (rng.random(rows) < share)).tolist() for share in (0.3, 0.2))
    later = [[clock[second + 30 * step] for step in range(3)] for second in began]
    hashes = rng.integers(0, 2**64 - 1, (rows, 3), np.uint64).tolist()
    cents = rng.integers(100, 99_999, (rows, 3)).tolist()
    names, kinds = ["appStartEvent", "appShowEvent", "appHideEvent"], ["0", "1", "2"]
    skus = [[f"SKU-{cent % 5000}" for cent in each] for each in cents]

    def several(each: Sequence[Sequence[Any]], counts: Sequence[int], *, quoted: bool) -> list[str]:
        return texts.lists([[str(v) for v in e[:n]] for e, n in zip(each, counts, strict=True)], quoted=quoted)

    u64 = form == "jsonl"
    return {
        "project_id": [42] * rows,
        "user_id": texts.ids(users),
        "session_id": texts.ids(rng.integers(0, 2**63, rows, np.uint64) * np.uint64(2)),
        "session_date": [f'"{clock[0][:10]}"'] * rows,
        "session_time": [f'"{time}"' for time in times],
        "session_number": rng.integers(1, 16, rows).tolist(),
        "session_number_of_views": rng.integers(1, 40, rows).tolist(),
        "session_duration_msec": rng.integers(0, 2_000_000, rows).tolist(),
        "user_id_unhashed": [f'"{a:08x}-{b:08x}"' for a, b in rng.integers(0, 2**32, (rows, 2)).tolist()],
        "device_id": rng.integers(1, 4, rows).tolist(),
        "city": pick(CITIES),
        "country_code": pick(["FR", "CH", "PL", "NA", "CN", "IT", "DE"]),
        "browser_name": pick(BROWSERS),
        "browser_major_version": rng.integers(90, 140, rows).tolist(),
        "platform_name": pick(PLATFORMS),
        "referer_url": pick(REFERERS),
        "screen_height": rng.integers(600, 1600, rows).tolist(),
        "density": [(0.5, 1, 1.5, 2, 3)[n] for n in rng.integers(0, 5, rows).tolist()],
        "is_excludable": (rng.random(rows) < 0.05).astype(np.int8).tolist(),
        "app_events.event_name": several([names] * rows, events, quoted=True),
        "app_events.event_time": several(later, events, quoted=True),
        "app_events.event_type": several([kinds] * rows, events, quoted=False),
        "session_transaction_items.sku": several(skus, bought, quoted=True),
        "session_transaction_items.product_id_hashed": several(hashes, bought, quoted=u64),
        "session_transaction_items.revenue_cents": several(cents, bought, quoted=u64),
        "custom_var": np.append(texts.of(WORDS), texts.null)[rng.integers(0, len(WORDS) + 1, rows)],
        "Landing path": pick(PATHS),
        "Basket value": rng.integers(0, 100_000, rows).tolist(),
        "Score": [number / 100 for number in rng.integers(0, 10_000, rows).tolist()],
    }


def blocks(
    form: str, size: int, seed: int, spoil_every: int = 0, day: datetime = DAY, kind: str = "bad"
) -> Iterator[bytes]:
    """About `size` bytes of lines. With `spoil_every` n, each nth line is spoilt in the way of this kind."""
    rng, made, number = np.random.default_rng(seed), 0, 0
    clock = [f"{day + timedelta(seconds=second):%Y-%m-%d %H:%M:%S}" for second in range(86_400 + 300)]
    while made < size:
        columns = values(rng, form, BLOCK, clock)
        if form == "csv":
            shape = ",".join(["%s"] * len(columns))
        else:
            shape = "{" + ",".join(f'"{name}":%s' for name in columns) + "}"
        lines = [shape % row for row in zip(*columns.values(), strict=True)]
        if spoil_every:
            for at in range(-number % spoil_every, len(lines), spoil_every):
                lines[at] = SPOILT[kind](lines[at], form, at)
        number += len(lines)
        if form == "csv" and not made:
            lines.insert(0, ",".join(f'"{name}"' for name in columns))
        block = ("\n".join(lines) + "\n").encode()
        made += len(block)
        yield block


def broken(line: str, form: str, number: int) -> str:
    """The line, as no record any more; it stays one line."""
    if form == "csv":
        return (line + ",1", "1,2")[number % 2].replace("\n", " ")
    return (
        line[: len(line) // 2],
        line.replace('"session_number":', '"session_number":NaN,"x":', 1),
        line + line,
        line.replace('"city":', '"city":"twice","city":', 1),
    )[number % 4]


def odd_time(line: str, form: str, number: int) -> str:
    """The line with a session_time that is none: a number in JSON, a word in CSV. The column is text from here on."""
    if form == "csv":
        return re.sub(r"^([^,]*,[^,]*,[^,]*,[^,]*),[^,]*", r'\1,"soon"', line)
    return re.sub(r'"session_time":"[^"]*"', '"session_time":1767600000', line, count=1)


def odd_number(line: str, form: str, number: int) -> str:
    """The line with a word where a declared column has numbers."""
    if form == "csv":
        return re.sub(r"^([^,]*,[^,]*,[^,]*,[^,]*,[^,]*),[^,]*", r"\1,soon", line)
    return re.sub(r'"session_number":[0-9]*', '"session_number":"soon"', line, count=1)


SPOILT = {"bad": broken, "odd-time": odd_time, "odd-number": odd_number}


def made(
    folder: Path,
    form: str,
    mb: int,
    seed: int = 7,
    spoil_every: int = 0,
    day: datetime = DAY,
    kind: str = "bad",
) -> Path:
    """The gzipped file of `mb` million bytes of lines, made when it is not there; beside it how many bytes they are."""
    spoilt = f"-{kind}{spoil_every}" if spoil_every else ""
    path = folder / f"sessions-{day:%Y%m%d}-{mb}mb-seed{seed}{spoilt}.{form}.gz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        packer, aside, size = zlib.compressobj(1, zlib.DEFLATED, 31), path.with_suffix(".aside"), 0
        rows = -1 if form == "csv" else 0
        with aside.open("wb") as file:
            for block in blocks(form, mb * 1_000_000, seed, spoil_every, day, kind):
                file.write(packer.compress(block))
                size += len(block)
                rows += BLOCK
            file.write(packer.flush())
        Path(f"{path}.size").write_text(str(size))
        aside.rename(path)
    return path


def plain_size(path: Path) -> int:
    """Bytes of the lines in a file that was made."""
    return int(Path(f"{path}.size").read_text())
