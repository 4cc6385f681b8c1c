"""What may be asked of each export endpoint, in our words and in Cordial's, and what excludes what.

From the reference of `contactactivityexport` and the vendor's v2 specification (docs/vendors/cordial.md, August 2026).
Pure: the settings call it before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

ACTIVITIES, CONTACTS, MESSAGES, TRENDS, MONITOR = ENDPOINTS = (
    "contactactivityexport",
    "contactexports",
    "messageanalyticsexport",
    "audiencetrendsexport",
    "accountmonitorexport",
)
# the jobs that an endpoint makes; those of the audience trends have no documented name
JOB_NAMES = {
    ACTIVITIES: "ExportEvents",
    CONTACTS: "ExportContacts",
    MESSAGES: "ExportMessageAnalytics",
    MONITOR: "ExportClientsLogs",
}
FORMATS = {
    ACTIVITIES: ("json", "csv", "txt"),
    CONTACTS: ("json", "csv", "txt"),
    MESSAGES: ("json", "csv"),
    TRENDS: ("csv",),
    MONITOR: ("csv", "json"),
}
UNTOLD = {MONITOR}  # no type is documented, though one is said to be needed: sent if chosen, else the files tell
SNAPSHOTS = {CONTACTS}  # have no timeframe: what holds now
SURELY_NAMED = {"_id"}  # tells rows of overlapping windows apart

# our word | Cordial's | endpoints that take it, * for all
_TABLE = """
format | exportType | *
compress | compress | contactactivityexport contactexports messageanalyticsexport accountmonitorexport
records_per_file | limitRecordsPerFile | contactactivityexport messageanalyticsexport accountmonitorexport
confirm_email | confirmEmail | contactactivityexport contactexports messageanalyticsexport accountmonitorexport
show_header | showHeader | contactactivityexport contactexports messageanalyticsexport
delimiter | delimiter | contactactivityexport contactexports
columns | columnHeaders | contactactivityexport messageanalyticsexport
channel | selected_channel | contactactivityexport messageanalyticsexport
action | selected_action_name | contactactivityexport
actions | selected_action_names | contactactivityexport
message_type | selected_message_type | contactactivityexport
message_id | selected_message_id | contactactivityexport
contact | selected_contact | contactactivityexport
audience | selected_audience_key | contactactivityexport
send_type | sendType | contactactivityexport
show_all_properties | showAllProperties | contactactivityexport
additional_fields | additionalJsonlFields | contactactivityexport
contact_fields | contactFields | contactactivityexport
fields | fields | contactexports audiencetrendsexport
account_id | accountId | contactexports audiencetrendsexport
lists | lists | contactexports
audience_key | audience-key | contactexports
type | type | messageanalyticsexport
view_mode | viewMode | messageanalyticsexport
message_name | selected_message_name | messageanalyticsexport
message_tags | selected_message_tags | messageanalyticsexport
message_tags_operator | selected_message_tags_operator | messageanalyticsexport
orchestration_name | selected_orchestration_name | messageanalyticsexport
orchestration_id | selected_orchestration_id | messageanalyticsexport
audience_names | selected_audience_names | messageanalyticsexport
audience_ids | selected_audience_ids | messageanalyticsexport
rollup_automations | rollupAutomations | messageanalyticsexport
totals_row | includeTotalsRow | messageanalyticsexport
audiences | audiences | audiencetrendsexport
category | selected_category | accountmonitorexport
level | selected_level | accountmonitorexport
"""
_ROWS = [[word.strip() for word in line.split("|")] for line in _TABLE.strip().splitlines()]
WORDS = {ours: theirs for ours, theirs, _ in _ROWS}
TAKEN_BY = {ours: [*ENDPOINTS] if by == "*" else by.split() for ours, _, by in _ROWS}


def wanted(endpoint: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a request that is the same for every window: what was chosen, in Cordial's words.

    A header is always asked for where there can be one: without it nobody knows the names of the columns.
    """
    body = {theirs: chosen[ours] for ours, theirs in WORDS.items() if chosen.get(ours) is not None}
    if endpoint in TAKEN_BY["show_header"] and chosen.get("format") in ("csv", "txt"):
        body.setdefault("showHeader", True)
    return body


def problems(endpoint: str, chosen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Everything that Cordial would refuse, or that would lose or double rows: the key and what to do about it."""

    def is_set(key: str) -> bool:
        return chosen.get(key) not in (None, [], "")

    for key, endpoints in TAKEN_BY.items():
        if is_set(key) and endpoint not in endpoints:
            yield key, f"{endpoint} takes no such parameter: drop it (it belongs to {', '.join(endpoints)})"
    yield from _about_format(endpoint, chosen)
    for one, other in (("action", "actions"), ("contact", "audience")):
        if is_set(one) and is_set(other):
            yield one, f"{one} and {other} exclude each other: keep one of them"
    for key, needs in NEEDS.items():
        if is_set(key) and not is_set(needs):
            yield key, f"{key} acts only together with {needs}: set it, or drop {key}"
    for key in ("fields", "account_id") if endpoint == CONTACTS else ():
        if not is_set(key):
            yield key, f"{endpoint} needs it"
    for key in ("orchestration_name", "orchestration_id"):
        if is_set(key) and chosen.get("type") == "batch":
            yield key, 'not together with type = "batch"'
    yield from _about_windows(endpoint, chosen)
    labels = [column["label"] for column in chosen.get("columns") or ()]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        yield "columns", f"two columns would go by the name {label!r}: give one another label"


NEEDS = {
    "message_id": "message_type",
    "show_all_properties": "action",
    "send_type": "channel",
    "message_tags_operator": "message_tags",
}


def _about_format(endpoint: str, chosen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    form, may_be = chosen.get("format"), FORMATS[endpoint]
    if form not in may_be and not (form is None and endpoint in UNTOLD):
        yield "format", f"{endpoint} exports only {', '.join(may_be)}"
    if chosen.get("show_header") is not None and form == "json":
        yield "show_header", "JSON has no header: drop it"
    if chosen.get("show_header") is False and not chosen.get("columns") and not chosen.get("fields"):
        yield "show_header", "without a header nobody knows the columns: name them under columns, or drop it"
    if chosen.get("delimiter") is not None and form != "txt":
        yield "delimiter", 'acts only with format = "txt"'
    if chosen.get("additional_fields") and form != "json":
        yield "additional_fields", 'acts only with format = "json"'


def _about_windows(endpoint: str, chosen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    overlap = chosen.get("overlap") or timedelta(0)
    if endpoint in SNAPSHOTS and chosen.get("start") is not None:
        yield "start", f"{endpoint} has no past, it exports what holds now: drop it"
    if endpoint not in SNAPSHOTS and chosen.get("start") is None:
        yield "start", 'write the first day to bring home: "2026-01-01"'
    if overlap and endpoint != ACTIVITIES:
        yield "overlap", f'rows of {endpoint} have no id to tell repeats apart: write "0s"'
    elif overlap and chosen.get("columns") and SURELY_NAMED.isdisjoint(one["name"] for one in chosen["columns"]):
        yield "overlap", 'without the column _id repeated rows can\'t be told apart: add it to columns, or write "0s"'
