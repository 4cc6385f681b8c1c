"""Where things lie under `data_dir`. Every name from outside is made safe; the same name always gives the same path."""

from __future__ import annotations

from hashlib import sha256

from syncd.model import Run
from syncd.names import file_name

CATALOGUE = "warehouse.duckdb"
ASIDE = "warehouse.duckdb.aside"  # the next catalogue, until it is renamed over the published one
HELD = "held"  # catalogues that were replaced, and that readers on other hosts may have open
LAKE = "lake"
REJECTED = "_rejected"
LEDGER = "_ledger"  # the folder of what is closed; stands for a source where one is asked for
PACKING = ".packing"  # under the lake: what is being sorted and not held
GONE = "gone"  # the kind of a file of the ledger that lists what was let go together
PACKED = "~"  # begins the name of a file that holds many parts; that of no run does
TEMPORARY = ".tmp"  # ends the name of a file that isn't whole yet
LONGEST = 200  # bytes of run and part together: endings must fit into the 255 of most file systems


def part_path(run: Run, part: str, date: str, generation: int, number: int) -> str:
    """From `data_dir`: one Parquet file of a part. `number` counts the layouts that a part needs on one date."""
    endings = (f".g{generation}" if generation > 1 else "") + (f".{number}" if number > 1 else "")
    return f"{scope_folder(run.source, run.scope)}/_syncd_date={date}/{_stem(run, part)}{endings}.parquet"


def rejects_path(run: Run, part: str, generation: int) -> str:
    """From `data_dir`: the Parquet file with the rejected lines of a part."""
    ending = f".g{generation}" if generation > 1 else ""
    return f"{LAKE}/{file_name(run.source)}/{REJECTED}/{_stem(run, part)}{ending}.parquet"


def packed_path(source: str, scope: str, date: str, number: int) -> str:
    """From `data_dir`: a file with the rows of many parts; `number` is used once only."""
    return f"{scope_folder(source, scope)}/_syncd_date={date}/{PACKED}{number}.parquet"


def segment_path(kind: str, number: int, of: str = LEDGER) -> str:
    """From `data_dir`: closed rows of the ledger, or the rejected lines of many parts of a source."""
    if of != LEDGER:
        return f"{LAKE}/{of}/{REJECTED}/{PACKED}{number}.parquet"
    return f"{LAKE}/{LEDGER}/{kind}-{number}.parquet"


def owner(path: str) -> str:
    """Whose a file under the lake is: a source's, or the ledger's."""
    return path.split("/")[1]


def scope_folder(source: str, scope: str) -> str:
    name = file_name(scope)
    return f"{LAKE}/{file_name(source)}/{name if name[0] != '_' else f'%5F{name[1:]}'}"  # `_rejected` and such are ours


def temporary(path: str) -> str:
    """The name under which the file at `path` is written: short, hidden, in the same folder."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{sha256(name.encode()).hexdigest()[:32]}{TEMPORARY}"


def _stem(run: Run, part: str) -> str:
    stem = f"{file_name(run.id)}~{file_name(part)}"
    if len(stem) <= LONGEST:
        return stem
    whole = sha256(f"{run.id}\0{part}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{stem[: LONGEST - 17]}%{whole}"
