"""Whether a run may be shown unasked: the operator's limits, held against what its parts turned out to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from syncd.errors import BadRun
from syncd.model import Run, Scope, Staged
from syncd.types import join, sql


@dataclass(frozen=True)
class Rules:
    """The operator's limits on what is loaded unasked."""

    max_rejected: float = 0.001
    freeze: bool = False
    keep_landed: timedelta = timedelta(days=30)
    cap_landed: int | None = None  # bytes


def judge(
    run: Run,
    scope: Scope,
    staged: Sequence[Staged],
    rules: Rules,
    *,
    accept_rejected: bool = False,
    verb: str = "retry",
) -> None:
    """BadRun when a part breaks the operator's limits: too many lines rejected, or a column changed under a freeze.

    `verb` is the command that the operator would repeat.
    """
    known = {column.source_name: column.type for column in scope.columns}
    for part in staged:
        share, most = part.rejected / max(part.lines, 1), rules.max_rejected
        if share > most and (part.rejected > 10 or share > 0.1) and not accept_rejected:
            shown = "; ".join(f"row {one.row} at byte {one.byte_offset}: {one.reason}" for one in part.samples)
            raise BadRun(
                f"part {part.part}: {part.rejected} of {part.lines} lines rejected, max_rejected is {most} ({shown})",
                hint=f"to load it without them: syncd {verb} --accept-rejected {run.name}",
            )
        for column in part.columns if rules.freeze else ():
            before = known.get(column.source_name)
            if before is None or join(before, column.type).plain != before.plain:
                was = f"changed from {sql(before)} to {sql(column.type)}" if before else f"is new ({sql(column.type)})"
                raise BadRun(
                    f"part {part.part}: column {column.source_name!r} {was}, and the schema is frozen",
                    hint=f'set schema = "evolve" under [parse], then: syncd {verb} {run.name}',
                )
