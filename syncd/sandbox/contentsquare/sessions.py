"""Made visits to a made shop, and the fields in which the vendor exports them.

A session is a dict of field name to value; its views carry its session fields. What is made depends on the seed, the
period and the part alone, so the sessions and the views of a day belong together, and a restated run has the same
sessions, grown.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

PROJECT = 42

_CITIES = (
    ("Paris", "FR", "fr"), ("Zürich", "CH", "de"), ("São Paulo", "BR", "pt"), ("北京", "CN", "zh"),
    ("Kraków", "PL", "pl"), ("القاهرة", "EG", "ar"), ("L'Aquila", "IT", "it"), ("", "", ""), ("Windhoek", "NA", "en"),
)  # fmt: skip
_BROWSERS = (("Chrome", 131), ("Safari", 18), ("Firefox", 133), ("Samsung Internet", 27), ("Unknown", 0))
_PLATFORMS = (("Mac OS", "10.15.7"), ("Windows", "10"), ("Android", "14"), ("iOS", "18.1"), ("Unknown", ""))
_REFERERS = (
    "", "https://www.google.com/", "https://l.facebook.com/l.php?u=https%3A%2F%2Fshop.test%2F&h=AT\\u0033",
    "android-app://com.google.android.gm/", "https://blog.test/the \"best\" of 2026?a=1,2&b='x'",
)  # fmt: skip
_PATHS = ("/", "/cart", "/checkout", "/c/shoes", "/c/größe-42", "/p/ 7\u2028", "/p/emoji-👟", "/search", "/a\\b")
_SEARCHES = (
    "red shoes", "", "cs-empty", "two\nlines", "a \"quoted\" word", "it's", "back\\slash", "\\N", "NULL", "null",
    "0123", "1e400", "2026-01-05", "next\u0085line", "line\u2028separator", "👟 größer", "tab\there", " padded ",
    "comma, separated", "carriage\r\nreturn", "[1,2]", "{\"a\":1}", "-", "9223372036854775808", "\ufeffmark",
)  # fmt: skip
_ERRORS = ("TypeError: undefined is not a function", "Script error.", "can't read 'x' of null", "é\n  at f (a.js:1)")
_EVENTS = ("appStartEvent", "appShowEvent", "appHideEvent")
_WORDS = ("A", "B", "control", "variant 1", "Ünïcode")
_IDS = (1 << 63) - (1 << 40)  # ids begin a little below 2^63, so that some are above


def _clock(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S")


class Slice(NamedTuple):
    """What one part holds: that many sessions of a period, in their `version`th delivery."""

    seed: int
    start: datetime
    end: datetime
    part: int
    sessions: int
    device: int = -1
    version: int = 0


def sessions(what: Slice) -> Iterator[dict[str, Any]]:
    """The sessions of a part, always the same for the same slice."""
    random = Random(f"{what.seed} {what.start.isoformat()} {what.end.isoformat()} {what.part}")  # noqa: S311  # not for secrets
    span = max(1, int((what.end - what.start).total_seconds()))
    for _ in range(what.sessions):
        yield _session(random, what.start + timedelta(seconds=int(random.random() * span)), what)


def _session(random: Random, began: datetime, what: Slice) -> dict[str, Any]:
    chance, pick, below = random.random, random.choice, random.getrandbits
    city, country, language = pick(_CITIES)
    browser, major = pick(_BROWSERS)
    platform, platform_version = pick(_PLATFORMS)
    views = min(1 + int(random.expovariate(0.5)), 40)
    bought, carted, app = chance() < 0.1, int(chance() * 3) if chance() < 0.3 else 0, int(chance() * 4)
    at = _clock(began)
    user = _IDS + (below(63) if chance() < 0.5 else below(40))
    skus = [f"SKU-{below(16)}" for _ in range(carted)]
    prices = [below(18) for _ in range(carted)]
    later = [_clock(began + timedelta(seconds=30 * step)) for step in range(max(carted, app))]
    return {
        "project_id": PROJECT,
        "user_id": user,
        "session_id": (1 << 64) - 1 - below(48) if chance() < 0.3 else below(53),
        "session_date": at[:10],
        "session_time": at,
        "session_number": 1 + below(4),
        "session_number_of_views": views,
        "session_duration_msec": below(21) + 1000 * what.version,
        "session_number_of_transactions": int(bought),
        "session_transactions_revenue_cents": sum(prices) if bought else 0,
        "user_id_unhashed": f"{user & 0xFFFFFF:x}-{below(32):x}",
        "device_id": what.device if what.device >= 0 else 1 + int(chance() * 3),
        "city": city,
        "country_code": country,
        "language": language,
        "browser_name": browser,
        "browser_major_version": major,
        "browser_version": f"{major}.0.{below(12)}" if major else "",
        "platform_name": platform,
        "platform_version": platform_version,
        "referer_url": pick(_REFERERS),
        "screen_height": 600 + below(10),
        "screen_width": 320 + below(11),
        "density": below(3) / 2 + 0.5,
        "is_excludable": int(chance() < 0.05),
        "app_events.event_name": [_EVENTS[step % 3] for step in range(app)],
        "app_events.event_time": later[:app],
        "app_events.event_type": [step % 3 for step in range(app)],
        "app_events.view_number": [step + 1 for step in range(app)],
        "session_transaction_items.id": [f"T/{user & 0xFFFF}"] * carted if bought else [],
        "session_transaction_items.sku": skus if bought else [],
        "session_transaction_items.product_id_hashed": [_IDS + below(63) for _ in skus] if bought else [],
        "session_transaction_items.revenue_cents": prices if bought else [],
        "session_transaction_items.quantity": [1 + price % 3 for price in prices] if bought else [],
        "session_transaction_items.transaction_time": later[:carted] if bought else [],
        "session_add_to_cart_items.sku": skus,
        "session_add_to_cart_items.product_id_hashed": [_IDS + below(62) for _ in skus],
        "session_add_to_cart_items.is_in_transaction": [int(bought)] * carted,
        "session_add_to_cart_items.add_to_cart_time": later[:carted],
        "custom_var": {1: pick(_SEARCHES), 2: pick(_WORDS)},
        "dynamic_var": {
            "AB Test": pick(_WORDS), "Traffic Source": pick(_SEARCHES), "VoC feedback score": int(chance() * 11),
            "Basket value": below(33), "note": None if chance() < 0.4 else pick(_SEARCHES),
        },
    }  # fmt: skip


def views(what: Slice) -> Iterator[dict[str, Any]]:
    """The views of the part's sessions."""
    random = Random(f"views {what.seed} {what.start.isoformat()} {what.end.isoformat()} {what.part}")  # noqa: S311  # not for secrets
    for session in sessions(what):
        at = datetime.fromisoformat(session["session_time"])
        last = session["session_number_of_views"]
        for number in range(1, last + 1):
            yield {**session, **_view(random, number, last, at, what.version)}
            at += timedelta(seconds=random.getrandbits(7))


def _view(random: Random, number: int, last: int, at: datetime, version: int) -> dict[str, Any]:
    chance, pick, below = random.random, random.choice, random.getrandbits
    errors = 1 + int(chance() * 3) if chance() < 0.1 else 0
    clicks = int(chance() * 3)
    path = pick(_PATHS)
    return {
        "view_number": number,
        "view_time": _clock(at),
        "url_no_query_param": f"https://shop.test{path}",
        "path": path,
        "query": f"?q={pick(_SEARCHES)}&n={number}" if chance() < 0.3 else "",
        "is_first": int(number == 1),
        "is_last": int(number == last),
        "scroll_rate": None if chance() < 0.2 else below(10) / 1023 * 100,
        "view_duration_msec": below(17) + version,
        "page_interaction_time_msec": below(14),
        "frustration_score": None if chance() < 0.5 else below(7) / 4,
        "rage_click_all_targets_ind": int(chance() < 0.02),
        "dom_interactive_after_msec": None if chance() < 0.3 else below(12),
        "errors.message": [pick(_ERRORS) for _ in range(errors)],
        "errors.error_time": [_clock(at + timedelta(seconds=step)) for step in range(errors)],
        "errors.filename": [f"https://shop.test/js/{step}.js" for step in range(errors)],
        "errors.line_number": [below(12) for _ in range(errors)],
        "errors.col_number": [below(8) for _ in range(errors)],
        "targets_clicks.path": [f"div#{step} > a:'x'" for step in range(clicks)],
        "targets_clicks.hashed_path": [_IDS + below(63) for _ in range(clicks)],
        "targets_clicks.time_before_msec": [below(14) for _ in range(clicks)],
    }


_KINDS = {  # of every field that has no kind of its own here: int
    "u64": "user_id session_id session_transactions_revenue_cents",
    "date": "session_date",
    "time": "session_time view_time",
    "flag": "is_excludable is_first is_last",
    "float": "density scroll_rate frustration_score",
    "text": "user_id_unhashed city country_code language browser_name browser_version platform_name "
    "platform_version referer_url url_no_query_param path query custom_var dynamic_var",
    "text[]": "app_events.event_name session_transaction_items.id session_transaction_items.sku "
    "session_add_to_cart_items.sku errors.message errors.filename targets_clicks.path",
    "time[]": "app_events.event_time session_transaction_items.transaction_time "
    "session_add_to_cart_items.add_to_cart_time errors.error_time",
    "u64[]": "session_transaction_items.product_id_hashed session_transaction_items.revenue_cents "
    "session_add_to_cart_items.product_id_hashed targets_clicks.hashed_path",
    "flag[]": "session_add_to_cart_items.is_in_transaction",
    "int[]": "app_events.event_type app_events.view_number session_transaction_items.quantity "
    "errors.line_number errors.col_number targets_clicks.time_before_msec",
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_EXAMPLE = next(views(Slice(0, datetime(2026, 1, 5), datetime(2026, 1, 6), 0, 1)))  # noqa: DTZ001  # UTC by meaning
_OF_A_VIEW = set(_view(Random(0), 1, 1, datetime(2026, 1, 5), 0))  # noqa: DTZ001, S311  # its keys only

FIELDS: dict[str, dict[str, str]] = {  # scope -> field -> kind, in the order of a default job
    "sessions": {name: _KIND_OF.get(name, "int") for name in _EXAMPLE if name not in _OF_A_VIEW},
    "views": {name: _KIND_OF.get(name, "int") for name in _EXAMPLE},
}
ROWS = {"sessions": sessions, "views": views}
CUSTOM_VARS = [
    {"position": 1, "key": "Search", "values": ["red shoes", "two\nlines"]},
    {"position": 2, "key": "pageType", "values": list(_WORDS)},
]
DYNAMIC_KINDS = {
    "AB Test": "text", "Traffic Source": "text", "VoC feedback score": "int", "Basket value": "u64", "note": "text",
}  # fmt: skip

_VARIABLES: list[dict[str, Any]] = [
    {"fieldName": "custom_var", "customVarPosition": 1, "aliasName": "My Custom Variable of index 1"},
    {"fieldName": "custom_var", "customVarPosition": 2, "aliasName": 'Page "type"'},
    {"fieldName": "dynamic_var", "dynamicVarKey": "AB Test", "aliasName": "Experiment"},
    {"fieldName": "dynamic_var", "dynamicVarKey": "Traffic Source", "aliasName": "experiment"},
    {"fieldName": "dynamic_var", "dynamicVarKey": "VoC feedback score", "aliasName": "VoC score"},
    {"fieldName": "dynamic_var", "dynamicVarKey": "Basket value", "aliasName": "Wert des Korbs, €"},
    {"fieldName": "dynamic_var", "dynamicVarKey": "note", "aliasName": "it's; DROP TABLE x--"},
]
_OF_VIEWS = (
    "project_id user_id session_id session_date device_id country_code referer_url view_number view_time "
    "url_no_query_param path query is_first is_last scroll_rate view_duration_msec page_interaction_time_msec "
    "frustration_score dom_interactive_after_msec errors.message errors.error_time errors.line_number "
    "targets_clicks.path targets_clicks.hashed_path"
)


def default_fields(scope: str) -> list[dict[str, Any]]:
    """The field list of a made job, as the vendor tells it."""
    names = list(FIELDS["sessions"])[:-2] if scope == "sessions" else _OF_VIEWS.split()
    return [{"fieldName": name} for name in names] + _VARIABLES


def exportable(scope: str) -> list[dict[str, Any]]:
    """What /v1/exportable-fields says of a scope."""
    parameters = {"custom_var": ["customVarPosition"], "dynamic_var": ["dynamicVarKey"]}
    return [
        {
            "name": name,
            "description": name.replace("_", " ").replace(".", ": "),
            "example": "" if name in parameters else str(_EXAMPLE[name]),
            "aliases": [],
            "parameters": parameters.get(name, []),
        }
        for name in FIELDS[scope]
    ]
