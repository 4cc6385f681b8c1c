"""What is known of the columns of `sessions` and `views` (docs/vendors/contentsquare.md, April 2026).

The types are those of the vendor's storage tables; every column may be NULL. A start, never a closed list: any other
name is learned. The vendor's table of views repeats the columns of the session, so views have both lists.
"""

from __future__ import annotations

from functools import cache

from syncd.model import Column, Scope
from syncd.types import Type

SCOPES = {
    "sessions": (
        ("session_date", "session_time"),
        (("project_id", "user_id", "session_id"), ("project_id", "session_id"), ("session_id",)),
    ),
    "views": (
        ("session_date", "view_time"),
        (
            ("project_id", "user_id", "session_id", "view_number"),
            ("project_id", "session_id", "view_number"),
            ("session_id", "view_number"),
        ),
    ),
}

# name | type | unit, meaning
OF_SESSIONS = """
project_id | int64 | project
session_id | uint64 | session
session_date | date | day of the session, UTC
session_time | timestamp | start of the session, UTC
session_number | int32 | ordinal of the session for the user
session_number_of_views | int32 | count
session_duration_msec | int64 | milliseconds
session_number_of_transactions | int32 | count
session_transactions_revenue_cents | uint64 | cents, sum
user_id | uint64 | hash of user_id_unhashed
user_id_unhashed | string | cookie _cs_id; empty before 2023-09-05
device_id | int16 | -1 all, 0 unknown, 1 desktop, 2 mobile web, 3 tablet web, 4 mobile app, 5 tablet app
city | string | city
country_code | string | ISO 3166 code
language | string | ISO 639 code
browser_name | string | web: browser
browser_major_version | int32 | web: browser's major version
browser_version | string | web: browser's version
platform_name | string | web: operating system
platform_version | string | web: operating system's version
referer_url | string | web: where the visitor came from
screen_height | int32 | pixels
screen_width | int32 | pixels
os_version | string | app: operating system's version, encoded
app_version | string | app: version, encoded
model | string | app: device model
manufacturer | string | app: device manufacturer
density | double | app: screen density
is_excludable | uint8 | 0 or 1; analysts keep rows with 0
app_events.event_name | list<string> | appStartEvent, appShowEvent, appHideEvent
app_events.event_time | list<timestamp> | UTC
app_events.event_type | list<uint8> | 0 start, 1 show, 2 hide
app_events.view_number | list<int64> | view that the event belongs to
session_transaction_items.id | list<string> | transaction
session_transaction_items.sku | list<string> | article
session_transaction_items.catalog_id | list<int64> | catalogue
session_transaction_items.product_id_hashed | list<uint64> | hash of the product
session_transaction_items.revenue_cents | list<uint64> | cents
session_transaction_items.quantity | list<int32> | count
session_transaction_items.transaction_time | list<timestamp> | UTC assumed
session_transaction_items.transaction_view_number | list<int64> | view of the transaction
session_add_to_cart_items.sku | list<string> | article
session_add_to_cart_items.catalog_id | list<int64> | catalogue
session_add_to_cart_items.product_id_hashed | list<uint64> | hash of the product
session_add_to_cart_items.is_in_transaction | list<uint8> | 0 or 1
session_add_to_cart_items.add_to_cart_time | list<timestamp> | UTC assumed
session_add_to_cart_items.add_to_cart_view_number | list<int64> | view of the event
session_transactions.id | list<string> | transaction
session_transactions.transaction_time | list<timestamp> | UTC assumed
session_transactions.revenue_cents | list<uint64> | cents
session_transactions.currency | list<int32> | ISO 4217 number
session_transactions.transaction_view_number | list<int64> | view of the transaction
session_products_visited.catalog_id | list<int64> | catalogue
session_products_visited.product_id_hashed | list<uint64> | hash of the product
custom_var | string | custom variable at the position asked for
dynamic_var | string | dynamic variable of the key asked for
"""
OF_VIEWS = """
view_number | int32 | ordinal of the view in the session
view_time | timestamp | start of the view, UTC assumed
errors.message | list<string> | text of the error
errors.error_time | list<timestamp> | UTC assumed
errors.filename | list<string> | URL of the script
errors.line_number | list<int64> | line
errors.col_number | list<int64> | column
errors.group_id | list<string> | group of equal errors
url_no_query_param | string | page URL without its query
scheme | string | of the page URL
prefix | string | of the page URL
path | string | of the page URL
query | string | of the page URL
scroll_rate | double | percent, 0 to 100
view_duration_msec | int64 | milliseconds
page_interaction_time_msec | int64 | milliseconds
is_first | uint8 | 0 or 1; a session may begin above view 1
is_last | uint8 | 0 or 1
frustration_score | double | 0 to 100
rage_click_all_targets_ind | int32 | count, or 0 and 1
multiple_button_interaction_ind | int32 | count, or 0 and 1
any_js_error_ind | int32 | count, or 0 and 1
any_api_error_ind | int32 | count, or 0 and 1
api_error_after_click_ind | int32 | count, or 0 and 1
targets_clicks.path | list<string> | element clicked
targets_clicks.hashed_path | list<uint64> | hash of the element
targets_clicks.time_before_msec | list<int64> | milliseconds
targets_clicks.catalog_id | list<int64> | catalogue
targets_clicks.product_id_hashed | list<uint64> | hash of the product
product_page_catalog_id | int64 | catalogue
product_page_product_id_hashed | uint64 | hash of the product
window_height | int32 | pixels
window_width | int32 | pixels
document_height | int64 | pixels
document_width | int64 | pixels
dom_interactive_after_msec | int64 | milliseconds
fully_loaded | int64 | milliseconds
start_render | int64 | milliseconds
screen_name | string | app: screen
"""


@cache
def columns(table: str) -> tuple[Column, ...]:
    """The columns of a table like those above."""
    rows = (map(str.strip, line.split("|")) for line in table.strip().splitlines())
    return tuple(
        Column(name, Type.parse(type_name), source_name=name, origin="declared", description=description)
        for name, type_name, description in rows
    )


def declared(scope: str) -> Scope:
    """What is known of a scope; of one never heard of, nothing."""
    if scope not in SCOPES:
        return Scope(scope)
    event_time, merge_keys = SCOPES[scope]
    known = columns(OF_SESSIONS) + (columns(OF_VIEWS) if scope == "views" else ())
    return Scope(scope, known, merge_keys=merge_keys, event_time=event_time)
