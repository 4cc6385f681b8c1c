"""The disk after a power cut: what was synced is there, and of the rest nothing, all or any of it.

POSIX promises no more, so that is what a disk is here. A file keeps what it held at its last fsync; a name (made,
moved, removed) holds once its folder was synced; a write that was not synced may be there without the ones before.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.stand import Stage, Stand, Tables, Tally, finish
from tests.crash.starter import Call, Op

Keeps = Callable[[str], bool]  # of "data" or "name": whether one unsynced change outlives the cut
DROPS: dict[str, Callable[[random.Random], Keeps]] = {
    "nothing unsynced is kept": lambda chance: lambda kind: False,
    "names are kept, bytes are not": lambda chance: lambda kind: kind == "name",
    "bytes are kept, names are not": lambda chance: lambda kind: kind == "data",
    "any half is kept": lambda chance: lambda kind: chance.random() < 0.5,
}


@dataclass
class Node:
    """A file or folder: what is durable of it, and what has been done to it since."""

    is_folder: bool = False
    durable: bytes = b""
    names: dict[str, Node] = field(default_factory=dict)
    unsynced: list[Call] = field(default_factory=list)
    moves: list[tuple[tuple[str, Node | None], ...]] = field(default_factory=list)  # changes of names, each whole

    def bytes_after(self, keeps: Keeps) -> bytes:
        """The file's bytes, with the unsynced calls that are kept."""
        if not self.unsynced:
            return self.durable
        held = bytearray(self.durable)
        for call in self.unsynced:
            if keeps("data"):
                wrote(held, call)
        return bytes(held)

    def names_after(self, keeps: Keeps) -> dict[str, Node]:
        """The folder's names, with the unsynced changes that are kept."""
        held = dict(self.names)
        for move in self.moves:
            if keeps("name"):
                renamed(held, move)
        return held


def wrote(held: bytearray, call: Call) -> None:
    """Do to the bytes what the call did."""
    if call.op == Op.TRUNCATE:
        del held[call.offset :]
        held.extend(bytes(max(call.offset - len(held), 0)))
    else:
        held.extend(bytes(max(call.offset - len(held), 0)))
        held[call.offset : call.offset + len(call.bytes)] = call.bytes


def renamed(held: dict[str, Node], move: Iterable[tuple[str, Node | None]]) -> None:
    """Do to the names what one call did."""
    for name, node in move:
        if node is None:
            held.pop(name, None)
        else:
            held[name] = node


class Disk:
    """What a process did to a folder, call by call, and what a power cut would leave of it."""

    def __init__(self, root: Path, before: Path) -> None:
        self._root = str(root)
        self._now: dict[str, Node] = {}
        self._take(before, "")
        self._now[""].is_folder = True

    def _take(self, path: Path, name: str) -> Node:
        """What was there before, durable."""
        node = Node(path.is_dir(), b"" if path.is_dir() else path.read_bytes())
        self._now[name] = node
        for each in sorted(path.iterdir()) if path.is_dir() else ():
            node.names[each.name] = self._take(each, f"{name}/{each.name}")
        return node

    def add(self, call: Call) -> None:
        """One more call was made."""
        path, other = call.path.removeprefix(self._root), call.other.removeprefix(self._root)
        match call.op:
            case Op.WRITE | Op.TRUNCATE:
                if path in self._now:  # else it has no name any more, and no cut can bring it back
                    self._now[path].unsynced.append(call)
            case Op.SYNC if path in self._now:
                node = self._now[path]
                node.durable, node.names = node.bytes_after(lambda kind: True), node.names_after(lambda kind: True)
                node.unsynced, node.moves = [], []
            case Op.CREATE | Op.MKDIR:
                self._now[path] = Node(call.op == Op.MKDIR)
                self._name(path, self._now[path])
            case Op.UNLINK | Op.RMDIR:
                self._now.pop(path, None)
                self._name(path, None)
            case Op.RENAME:
                self._move(path, other)

    def _name(self, path: str, node: Node | None) -> None:
        folder, _, name = path.rpartition("/")
        self._now[folder].moves.append(((name, node),))

    def _move(self, path: str, other: str) -> None:
        here, there = path.rpartition("/"), other.rpartition("/")
        assert here[0] == there[0], f"{path} moved to another folder: a rename is one change of one folder here"
        node = self._now[path]
        self._now[here[0]].moves.append(((here[2], None), (there[2], node)))
        for name in [name for name in self._now if name == path or name.startswith(f"{path}/")]:
            self._now[other + name.removeprefix(path)] = self._now.pop(name)

    def cut(self, keeps: Keeps) -> dict[str, bytes | None]:
        """Every path and its bytes (None: a folder) after a cut now."""
        return dict(self._cut(self._now[""], "", keeps))

    def _cut(self, node: Node, path: str, keeps: Keeps) -> Iterator[tuple[str, bytes | None]]:
        for name, each in node.names_after(keeps).items():
            yield f"{path}/{name}", None if each.is_folder else each.bytes_after(keeps)
            if each.is_folder:
                yield from self._cut(each, f"{path}/{name}", keeps)


def build(root: Path, disk: dict[str, bytes | None]) -> None:
    """Have exactly this at `root`."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for path, held in disk.items():
        place = root / path.removeprefix("/")
        if held is None:
            place.mkdir()
        else:
            place.write_bytes(held)


@dataclass(frozen=True)
class Cut:
    """A disk that a power cut leaves."""

    where: str
    disk: dict[str, bytes | None]
    said: str  # by the command, until then


def cuts(root: Path, before: Path, made: Iterable[Call], chance: random.Random) -> Iterator[Cut]:
    """Each different disk that a cut behind some call may leave."""
    disk, said = Disk(root, before), ""
    known: set[int] = set()
    for number, call in enumerate(made):
        if call.op == Op.SAY:
            said += call.bytes.decode()
            continue
        disk.add(call)
        for how, drops in DROPS.items():
            left = disk.cut(drops(chance))
            key = hash(frozenset(left.items()))
            if key not in known:
                known.add(key)
                yield Cut(f"call {number + 1} ({call.op.name} {Path(call.path).name}), {how}", left, said)


def outlive(stand: Stand, stage: Stage, expected: Tables, cut: Cut, tally: Tally) -> None:
    """One go from a disk that a cut has left: what was shown is there, whole; then all comes home."""
    build(stand.home.data_dir, cut.disk)
    tally.goes += 1
    tally.stopped += 1
    where = f"{stage.name}, power cut behind {cut.where}"
    if stage.name != "repair":  # which begins with a lake that is not whole
        proved = stand.run(("verify",))
        if proved.code:
            tally.wrong.append(f"{where}: verify ended with {proved.code}: {proved.out}{proved.err[-2000:]}")
            return
        told = set(re.findall(r'"run":"acme/([^"]+)"[^\n]*"event":"run_loaded"', cut.said))
        is_there = (stand.home.data_dir / "warehouse.duckdb").exists()  # a disk that lies may have kept nothing at all
        here = {run for (run,) in stand.home.query("SELECT run FROM _syncd.runs")} if is_there else set()
        tally.wrong += [f"{where}: {run} was called loaded, and is not here" for run in told - here]
    finish(stand, stage, expected, tally, where)
