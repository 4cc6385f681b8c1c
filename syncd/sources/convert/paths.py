"""The only paths that may be asked for. Lists are POST here, so the method tells nothing: this list does.

Two locks: a path is one of these templates, and its last step is none of the vendor's words for writing.
"""

from __future__ import annotations

import re

A = "/accounts/{account}"
P = f"{A}/projects/{{project}}"
E = f"{P}/experiences/{{experience}}"

READS = frozenset(
    {
        ("GET", "/access-roles"),
        ("GET", "/accounts"),
        ("GET", "/billing-plans"),
        ("GET", f"{A}/details"),
        ("GET", f"{A}/users-accesses"),
        ("GET", f"{P}/locations-presets"),
        ("GET", f"{P}/audiences-presets"),
        ("GET", f"{E}/sections"),
        ("GET", f"{E}/report_settings"),
        *(("POST", f"{level}/{log}") for level in (A, P, E) for log in ("change-history", "livedata")),
        ("POST", f"{A}/projects"),
        *(
            ("POST", f"{P}/{kind}")
            for kind in (
                *("experiences", "goals", "hypotheses", "knowledge-bases", "observations", "locations"),
                *("audiences", "domains", "images", "tags", "features"),
            )
        ),
        ("POST", f"{E}/aggregated_report"),
        ("POST", f"{E}/daily_report"),
        # reads with an effect: a file is made; of raw data, a mail may be sent
        ("POST", f"{E}/export_report"),
        ("POST", f"{E}/export_raw_data"),
        ("POST", f"{P}/export"),
    }
)
WRITES = re.compile(
    r"add|update|delete|clone|convert|bulk-.*|reset_report|remove_report_data|import.*|trigger-screenshots"
    r"|report_token|generate-debug-token|check_code"
)


class NotARead(Exception):
    """A bug of ours: this path may change something at the vendor."""


def path(method: str, template: str, **ids: int | str) -> str:
    """The path of a read, with its ids filled in. NotARead: it isn't on the list, or an id isn't a number."""
    if (method, template) not in READS or WRITES.fullmatch(template.rpartition("/")[2]):
        raise NotARead(f"{method} {template}")
    if not all(re.fullmatch(r"\d+", str(value), re.ASCII) for value in ids.values()):
        raise NotARead(f"{method} {template} with {ids}")
    return template.format(**ids)
