"""The columns of each table, from the schemas of the vendor's reference: name | type | meaning.

Instants are the vendor's unix seconds, landed as ISO texts: TIMESTAMP here. Objects of free shape are JSON text, so
that no new key of theirs changes a column. Names that stand nowhere are learned.
"""

from __future__ import annotations

from functools import cache

from syncd.model import Column, Scope
from syncd.sources.convert.dimensions import DIMENSIONS
from syncd.types import Type

VARIATION = (
    'struct<"changes":list<int64>,"description":string,"id":int64,"is_baseline":bool,"key":string,"name":string,'
    '"status":string,"traffic_distribution":double>'
)
PLACE = """
account_id | int64 | account, from the path
project_id | int64 | project, from the path
"""
EXPERIENCE = f"""
{PLACE}
experience_id | int64 | experience, from the path
"""
LIVING = """
id | int64 | unique in its project
name | string | its name
description | string | free text
status | string | active or archived
"""
READING = f"""
{EXPERIENCE}
fetched_at | timestamp | when it was read, UTC
refused | string | the vendor's words where it refused this read; such a row has no figures
goal_id | int64 | goal
variation_id | int64 | variation; null in series over all
utc_offset | int64 | seconds that days are shifted by
"""
TABLES = {
    "accounts": """
id | int64 | account
name | string | its name
accountType | string | main, or a sub-account
accessRole | string | role of the key
settings | json | account settings
billing | json | billing
limitsAndCapabilities | json | limits of the plan
stats | json | usage
""",
    "account_details": """
account_id | int64 | account, from the path
id | int64 | account
name | string | its name
accountType | string | main, or a sub-account
accessRole | string | role of the key
settings | json | account settings
billing | json | billing
limitsAndCapabilities | json | limits of the plan
stats | json | usage
""",
    "access_roles": """
name | string | owner, account_manager, admin, browse, edit, publish, review
permissions | json | what the role may
""",
    "projects": """
account_id | int64 | account, from the path
id | int64 | project
name | string | its name
project_type | string | web or fullstack
status | string | active, inactive, suspended
type | string | own or shared
accessRole | string | role of the key
owner_email | string | hashed
created_at | timestamp | UTC
modified_at | timestamp | UTC
settings | json | without debug tokens
reporting_settings | json | of reports
integrations_settings | json | without keys
custom_domain | json | domain that serves the script
environments | json | by name
default_goals | list<int64> | goals
default_audiences | list<int64> | audiences
default_locations | list<int64> | locations
domains | json | the same as the table domains
global_javascript | string | code on all pages
stats | json | counts
""",
    "experiences": f"""
{PLACE}
id | int64 | experience
project | int64 | project
name | string | its name
key | string | unique in the project
description | string | free text
objective | string | free text
status | string | draft, active, paused, completed, scheduled, archived, deleted
type | string | a/b, a/a, mvt, split_url, multipage, deploy, a/b_fullstack, feature_rollout
version | double | grows with each change
start_time | timestamp | UTC; null: not started
end_time | timestamp | UTC; null: not stopped
traffic_distribution | double | percent
primary_goal | int64 | goal
url | string | page in the editor
global_js | string | code
global_css | string | code
settings | json | settings
site_area | json | rules
environment | string | where it runs
environments | list<string> | deprecated
integrations | json | without keys
multipage_pages | json | pages
customizations | json | of the editor
screenshots_info | json | of variations
alerts | json | alerts
stats | json | condensed figures
goals | list<int64> | goals
audiences | list<int64> | audiences
locations | list<int64> | locations
tags | list<int64> | tags
variations | list<{VARIATION}> | variations, by id
""",
    "variations": f"""
{EXPERIENCE}
id | int64 | variation
name | string | its name
description | string | free text
is_baseline | bool | the original
traffic_distribution | double | percent
key | string | unique in the project
status | string | stopped or running
changes | list<int64> | changes
""",
    "goals": f"""
{PLACE}{LIVING}
key | string | unique in the project
is_system | bool | made by the system
selected_default | bool | in new experiences
type | string | advanced, visits_page, revenue, clicks_link …
settings | json | settings
triggering_rule | json | when it counts
stats | json | usage
""",
    "audiences": f"""
{PLACE}{LIVING}
key | string | unique in the project
type | string | segmentation, permanent, transient
preset | bool | one of the vendor's
selected_default | bool | in new experiences
rules | json | whom it matches
stats | json | usage
""",
    "locations": f"""
{PLACE}{LIVING}
key | string | unique in the project
preset | bool | one of the vendor's
selected_default | bool | in new experiences
rules | json | which pages it matches
trigger | json | when it is looked at
stats | json | usage
""",
    "domains": f"""
{PLACE}
id | int64 | domain
url | string | home page
code_installed | bool | the script was seen there
""",
    "hypotheses": f"""
{PLACE}
id | int64 | hypothesis
project | int64 | project
name | string | its name
url | string | a reference
objective | string | free text
summary | string | free text
status | string | applied, archived, completed, draft, proven, disproven
start_date | date | as set
end_date | date | as set
created_at | timestamp | UTC
created_by | string | hashed
prioritization_score | string | a number as text
prioritization_score_type | string | PIE …
prioritization_score_attributes | json | what the score is made of
experiences | list<int64> | experiences
tags | list<int64> | tags
""",
    "knowledge_bases": f"""
{PLACE}
id | int64 | knowledge base
project | int64 | project
name | string | its name
summary | string | free text
status | string | active or archived
created_by | string | hashed
updated_at | timestamp | UTC
tags | list<int64> | tags
""",
    "observations": f"""
{PLACE}{LIVING}
project | int64 | project
url | string | a reference
created_by | string | hashed
created_at | timestamp | UTC
images | json | at most three
tags | list<int64> | tags
""",
    "tags": f"""
{PLACE}
id | int64 | tag
name | string | its name
description | string | free text
""",
    "features": f"""
{PLACE}{LIVING}
key | string | unique in the project
variables | json | of the feature
stats | json | usage
""",
    **dict.fromkeys(
        ("locations_presets", "audiences_presets"),
        f"{PLACE}\nid | int64 | preset\nname | string | its name\nrules | json | what it matches",
    ),
    "images": f"{PLACE}\nkey | string | unique in the project\ncdn_url | string | where it lies",
    "sections": f"{EXPERIENCE}\nid | string | one or two letters\nname | string | its name\nversions | json | versions",
    "billing_plans": "id | int64 | plan",
    "users_accesses": """
account_id | int64 | account, from the path
user_id | string | hashed; null until the invitation is accepted
email | string | hashed
first_name | string | hashed
last_name | string | hashed
accesses | json | projects and roles
""",
    "aggregated_report": f"""
{READING}
metric_type | string | conversion_rate, avg_revenue_visitor, avg_products_ordered_visitor …
metric_total | double | conversions, revenue or products
metric_value | double | the metric itself
metric_change | double | against the baseline, as sent
metric_interval | json | of confidence
visitors | int64 | of the variation
confidence | double | frequentist
statistically_significant | bool | frequentist
estimated_progress | double | as sent
remaining_samples | double | frequentist
observed_power | double | frequentist
powerful | bool | frequentist
done | bool | enough data
srm | bool | sample ratio mismatch
srm_pvalue | double | of the mismatch
chance_to_win | double | bayesian
expected | double | bayesian
risk | json | bayesian
goal_srm | bool | the same, of the goal
goal_srm_pvalue | double | the same, of the goal
conversion_data | json | deprecated by the vendor
revenue_data | json | deprecated by the vendor
products_data | json | deprecated by the vendor
variation | json | what the report tells of the variation
stats_methodology | string | frequentist or bayesian
""",
    "daily_report": f"""
{READING}
metric | string | conversion_rate, avg_revenue_per_visitor, avg_products_ordered_per_visitor
report_type | string | cumulative or non_cumulative
series | string | variation, or total_visitors, avg_conversion_rate … over all
timestamp | timestamp | start of the day, UTC
value | double | the metric
totals | double | conversions, revenue or products
visitors | int64 | of the day
""",
    "report_settings": f"""
{EXPERIENCE}
fetched_at | timestamp | when it was read, UTC
refused | string | the vendor's words where it refused this read; such a row has no setting
setting | string | campaigns, custom_segments …
id | string | of the entry
name | string | of the entry
visitors_count | int64 | of a campaign
value | json | of a setting that is no list
""",
    "report_export": f"""
{EXPERIENCE}
fetched_at | timestamp | when it was read, UTC
refused | string | the vendor's words where it refused this export; such a row has no record
report_type | string | csv_aggregated, csv_daily, csv_aggregated_tabular, csv_daily_tabular
data_type | string | cumulative or non_cumulative; of daily ones
goals | list<int64> | asked for
chunk | int64 | of the goals: a daily export has at most ten
file | string | its name, where several came in one archive
row | int64 | number of the record in the file
text | string | the record as it came
cells | list<string> | its cells
""",
    "project_export": f"""
{PLACE}
section | string | project, experiences, goals …
entry | string | its id, or its number in the section
document | json | the entry
""",
    "raw_data": "",
    "change_history": f"""
record_sha256 | string | of the record as landed: it has no id
level | string | account, project or experience: where it was seen first
{EXPERIENCE}
timestamp | timestamp | UTC
event | string | what happened
method | string | api or app
object | string | to what
object_id | string | to which
parent_object_id | string | of which
project | int64 | as the record says
user | string | hashed
request_id | string | not unique
changes | json | old and new
info | json | deprecated
""",
    "live_data": f"""
kind | string | event; gap: events may be missing before it
record_sha256 | string | of the event as landed: it has no id
occurrence | int64 | number among equal events of one window
level | string | account, project or experience
place | string | which window: the ids of its level
{EXPERIENCE}
timestamp | timestamp | UTC
gap_from | timestamp | last event seen before a gap
gap_to | timestamp | first event behind it
event_type | string | view_experience, conversion, transaction
devices | json | devices
browser | string | browser
country | string | country
visitor_type | string | new or returning
campaign | string | campaign
custom_segments | json | segments
sources | json | sources
experiences | json | experiences and variations
conversion | json | goals, products, revenue
project | int64 | as the event says
""",
}
REPORT_KEYS = {
    "aggregated_report": ("goal_id", "variation_id", "metric_type", "utc_offset"),
    "daily_report": ("goal_id", "metric", "report_type", "series", "variation_id", "timestamp", "utc_offset"),
    "report_settings": ("setting", "id", "name"),
    "report_export": ("report_type", "data_type", "chunk", "file", "row"),
}
EVENT_TIME = {"change_history": ("timestamp",), "live_data": ("timestamp",)}
AT = ("account_id", "project_id", "experience_id")


@cache
def declared(name: str) -> Scope:
    """What is known of a scope; of one never heard of, nothing."""
    if name not in TABLES:
        return Scope(name)
    rows = (map(str.strip, line.split("|", 2)) for line in TABLES[name].splitlines() if line.strip())
    columns = tuple(
        Column(column, Type.parse(kind), source_name=column, origin="declared", description=description)
        for column, kind, description in rows
    )
    if dimension := DIMENSIONS.get(name):
        by_name = tuple((*dimension.key[:-1], key) for key in ("key", "name") if dimension.may_lack)
        return Scope(name, columns, merge_keys=(dimension.key, *by_name), snapshot=True)
    if name == "project_export":
        return Scope(name, columns, merge_keys=(("account_id", "project_id", "section", "entry"),), snapshot=True)
    keys = ((*AT, *REPORT_KEYS[name]),) if name in REPORT_KEYS else ()
    if name in EVENT_TIME:
        keys = (("record_sha256",),) if name == "change_history" else (("place", "record_sha256", "occurrence"),)
    return Scope(name, columns, merge_keys=keys, event_time=EVENT_TIME.get(name, ()))
