"""Knobs of a vendor in a box: one field is one knob, and the command line's flags are derived from the fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, NamedTuple, TypeVar

OfferKind = TypeVar("OfferKind", bound="Checked")
TroubleKind = TypeVar("TroubleKind", bound="Checked")


def knob(default: Any, help: str, *choices: str, type: type | None = None) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices, "type": type})


class Checked:
    """Refuses a choice that isn't on the list, naming the list."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]  # only dataclasses inherit
            choices, value = each.metadata["choices"], getattr(self, each.name)
            if choices and value not in choices:
                raise ValueError(f"{each.name} is {value!r}, but can be {', '.join(map(repr, choices))}")


class Knob(NamedTuple):
    """A flag for the command line."""

    flag: str
    name: str
    type: type
    default: Any
    help: str
    choices: tuple[str, ...]


def flags(*kinds: type[Checked]) -> list[Knob]:
    """Every knob of these, in order."""
    return [
        Knob(
            "--" + each.name.replace("_", "-"),
            each.name,
            each.metadata["type"] or type(each.default),
            each.default,
            each.metadata["help"],
            each.metadata["choices"],
        )
        for kind in kinds
        for each in fields(kind)  # type: ignore[arg-type]  # only dataclasses inherit
    ]


def sorted_out(
    chosen: Mapping[str, Any], offer: type[OfferKind], trouble: type[TroubleKind]
) -> tuple[OfferKind, TroubleKind]:
    """Values by knob name, as the two things they belong to. TypeError: no such knob; ValueError: no such choice."""
    offers = {each.name for each in fields(offer)}  # type: ignore[arg-type]  # only dataclasses inherit
    return (
        offer(**{name: value for name, value in chosen.items() if name in offers}),
        trouble(**{name: value for name, value in chosen.items() if name not in offers}),
    )
