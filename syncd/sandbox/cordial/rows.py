"""What the account holds, made by seed: events of every kind, contacts, and what the sibling exports tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import md5
from random import Random
from typing import Any

from syncd.sandbox.cordial.trouble import Trouble

ACTIONS = ("message-sent", "open", "click", "bounce", "optout", "complaint", "pageview")
WEIGHTS = (50, 25, 12, 4, 3, 1, 5)
NAMES = ("Zoë", "Łukasz", "山田", "O'Neil", 'A "B" C', "line\nbreak", "😀", "comma, too")
DAY = timedelta(days=1)


def events(seed: int, rows: int, start: datetime, end: datetime, *, with_end: bool = False) -> Iterator[dict[str, Any]]:
    """Every event in `[start, end)`, or up to the end; the same each time. Times are whole seconds."""
    day = start.replace(hour=0, minute=0, second=0, microsecond=0)
    while day <= end:
        for number in range(rows):
            event = made(seed, day, number, rows)
            if start <= event["time"] < end or (with_end and event["time"] == end):
                yield event
        day += DAY


def made(seed: int, day: datetime, number: int, rows: int) -> dict[str, Any]:
    """One event; the first of a day is at midnight sharp."""
    random = Random(f"{seed} {day} {number}")  # noqa: S311  # not for secrets
    at = day + timedelta(seconds=int(86400 * number / rows))
    contact, message = random.randrange(1000), random.randrange(20)
    action = random.choices(ACTIONS, WEIGHTS)[0]
    send = f"45:{hexed(f'send {message}')[:17]}:d{at:%y%m%d}"
    event: dict[str, Any] = {
        "_id": hexed(f"event {seed} {day} {number}")[:24],
        "action": action,
        "time": at,
        "email": f"contact{contact}@example.com" if contact % 17 else "",
        "cID": hexed(f"contact {contact}")[:24],
        "bmID": send,
        "mcID": f"{send}:{hexed(f'contact {contact}')[:24]}:{int(at.timestamp())}",
        "first": random.random() < 0.3,
        "message_name": f"Message {message} {NAMES[message % len(NAMES)]}",
        "system_properties": {"link": hexed(str(message))[:8], "bt": "hard"} if action in ("click", "bounce") else {},
        "properties": {"amount": round(random.random() * 100, 2), "who": NAMES[contact % len(NAMES)]},
    }
    if message % 3 == 0:
        event["mdtID"] = f"automation-{message}"
    return event


def hexed(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def told(event: Mapping[str, Any], trouble: Trouble, number: int, export: int, last_day: datetime) -> dict[str, Any]:
    """An event as this export spells it; `number` in its file, `export` counts the account's exports."""
    row = dict(event) | {"time": spelled(event["time"], trouble.times)}
    match trouble.first:
        case "int":
            row["first"] = int(row["first"])
        case "mixed":
            row["first"] = int(row["first"]) if number % 2 else row["first"]
        case "absent":
            row.pop("first")
    if trouble.two_types and number % 2:
        row["properties"] = row["properties"] | {"amount": f"{row['properties']['amount']} EUR"}
    if trouble.new_keys and event["time"] >= last_day:
        row |= {"matchType": "exact", "unsubScore": number}
    if trouble.merged:
        row["cID"] = hexed(f"{row['cID']} {export}")[:24]
    if number < trouble.no_ids:
        row.pop("_id")
    if trouble.keys == "raw":
        row = {RAW.get(key, key): value for key, value in row.items()}
    return flat(row) if trouble.keys == "dotted" else row


RAW = {"action": "a", "time": "ats", "system_properties": "sp", "message_name": "name"}


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Objects as dotted keys."""
    out: dict[str, Any] = {}
    for key, value in row.items():
        out |= {f"{key}.{inner}": one for inner, one in value.items()} if isinstance(value, dict) else {key: value}
    return out


def spelled(at: datetime, form: str) -> str:
    text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + {"ms": ".000Z"}.get(form, form)


def contacts(seed: int, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The contacts of today."""
    for number in range(50):
        random = Random(f"{seed} contact {number}")  # noqa: S311  # not for secrets
        row: dict[str, Any] = {"cID": hexed(f"contact {number}")[:24], "email": f"contact{number}@example.com"}
        row |= {"first_name": NAMES[number % len(NAMES)], "points": random.randrange(100)}
        yield {field: row.get(field) for field in fields}


def analytics(seed: int, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
    """Figures of messages in a timeframe."""
    for number in range(5):
        random = Random(f"{seed} {start} {end} {number}")  # noqa: S311  # not for secrets
        sent = random.randrange(1000)
        yield {"Message ID": f"message-{number}", "Message Name": NAMES[number], "Sent": sent, "Opens": sent // 3}


def trends(_seed: int, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
    """Sizes of audiences, day by day."""
    while start <= end:
        yield {"date": f"{start:%Y-%m-%d}", "audience": "vip_members", "size": start.day * 10}
        start += DAY


def monitor(_seed: int, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
    """Lines of the account's log."""
    for number in range(6):
        at = start + (end - start) * number / 6
        yield {"time": spelled(at, "Z"), "category": "Exports", "level": "Error", "message": f"failed, {number} times"}
