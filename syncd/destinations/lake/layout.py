"""Which columns a file has, under which names and types, and how its footer tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from syncd.destinations.lake.naming import LINEAGE, given
from syncd.model import Batch, Column
from syncd.types import Type, arrow


@dataclass(frozen=True)
class Layout:
    """The columns of a file. `columns` bear the names in the file; the vendor's spelling tells them apart."""

    columns: tuple[Column, ...] = ()

    def fits(self, columns: Iterable[Column]) -> bool:
        """Each of these can be written here as it is; those that lack are null."""
        here = {column.source_name: column.type for column in self.columns}
        return all(here.get(column.source_name) == column.type.plain for column in columns)

    def grown(self, columns: Iterable[Column], reserved: Iterable[str]) -> Layout:
        """This one with these columns added, or stored as these types now."""
        kept = {column.source_name: column for column in self.columns}
        taken = {*reserved, *(column.name.lower() for column in self.columns)}
        for column in columns:
            known = kept.get(column.source_name)
            name = known.name if known else given(column.name, taken)
            taken.add(name.lower())
            kept[column.source_name] = Column(name, column.type.plain, column.source_name, column.origin)
        return Layout(tuple(kept.values()))

    def rows(self, batch: Batch) -> pa.RecordBatch:
        """The batch's rows in this layout."""
        here = {column.source_name: at for at, column in enumerate(batch.columns)}
        names, arrays = ["_syncd_row"], [batch.rows.column(batch.rows.num_columns - 1)]
        for column in self.columns:
            kind, at = arrow(column.type), here.get(column.source_name)
            array = pa.nulls(batch.rows.num_rows, kind) if at is None else batch.rows.column(at)
            names.append(column.name)
            arrays.append(array if array.type.equals(kind) else array.cast(kind))
        return pa.RecordBatch.from_arrays(arrays, names=names)


def reserved(root: Path) -> set[str]:
    """Names, in lower case, that no column of a file under `root` can have.

    `hive_partitioning` takes every `key=value` folder for a column, and lets it hide the file's own.
    """
    return {*LINEAGE, *(name.partition("=")[0].lower() for name in root.parts if "=" in name)}


def spelled(column: Column) -> list[str]:
    """A column with all that is known of it, for a footer."""
    return [column.name, str(column.type), column.source_name, column.origin, column.description]


def read_columns(spelled: Iterable[Sequence[str]]) -> tuple[Column, ...]:
    """The columns that `spelled` spelled."""
    return tuple(Column(name, Type.parse(kind), *rest) for name, kind, *rest in spelled)
