"""What is known of the columns of each export (docs/vendors/cordial.md, August 2026).

A start, never a closed list: any other name is learned. Nested objects that every client fills with names of his own
stay whole, as JSON: the same property may have different types in different events. A column that was given another
label is known under that label.
"""

from __future__ import annotations

from functools import cache

from syncd.model import Column, Scope
from syncd.sources.cordial.exports import Export
from syncd.sources.cordial.parameters import ACTIVITIES, CONTACTS
from syncd.types import Type

# name | type | meaning
OF = {
    ACTIVITIES: """
_id | string | the event
action | string | message-sent, open, click, optout, bounce, complaint, pageview, crdl_*, or a custom event
time | timestamp | of the action, UTC
email | string | may be empty; personal data
cID | string | contact; another one after a merge
bmID | string | message send
mcID | string | joins a send with its opens and clicks
mdtID | string | automation template; absent for a batch message
first | bool | whether it is the first of its kind
message_name | string | name of the message
message_sent | timestamp | when the message was sent, UTC
system_properties | json | what the platform noted: bounce type, link, transport
properties | json | what the client noted
ats | timestamp | the raw name of time
sp | json | the raw name of system_properties
""",
    CONTACTS: """
cID | string | contact
email | string | personal data
""",
}
KEYS = {ACTIVITIES: (("_id",),), CONTACTS: (("cID",), ("email",))}
EVENT_TIME = {ACTIVITIES: ("time", "ats")}


@cache
def columns(endpoint: str) -> tuple[Column, ...]:
    """The columns of a table like those above."""
    rows = [[cell.strip() for cell in line.split("|")] for line in OF.get(endpoint, "").strip().splitlines()]
    return tuple(
        Column(name, Type.parse(type_name), source_name=name, origin="declared", description=description)
        for name, type_name, description in rows
    )


def declared(export: Export) -> Scope:
    """What is known of the export's table before anything has come."""
    labels = {one["name"]: one["label"] for one in export.wanted.get("columnHeaders", ())}
    known = [column for column in columns(export.endpoint) if not labels or column.name in labels]

    def shown(name: str) -> str:
        return str(labels.get(name, name))

    return Scope(
        export.name,
        tuple(Column(shown(one.name), one.type, shown(one.name), one.origin, one.description) for one in known),
        merge_keys=tuple(tuple(map(shown, key)) for key in KEYS.get(export.endpoint, ())),
        event_time=tuple(map(shown, EVENT_TIME.get(export.endpoint, ()))),
        snapshot=export.endpoint == CONTACTS,
    )
