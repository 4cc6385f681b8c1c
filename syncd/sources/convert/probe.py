"""What an account settles of the vendor notes' unknowns (docs/vendors/convert.md).

Reads from the list in `paths` only, at the pace of every other read. Of the three exports only a report's is asked for
(the vendor writes a file and tells nobody), and only where it is mirrored; raw data never is: it may send a mail.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from syncd.errors import ConfigError, SyncdError
from syncd.fetch.seen import (
    MANY,
    Keys,
    Witness,
    by_chapters,
    json_kind,
    of_manners,
    of_pages,
    patiently,
    refusals,
    tally,
    word,
)  # fmt: skip
from syncd.model import Finding
from syncd.sources.convert import logs
from syncd.sources.convert.answers import Json, rows, said, seconds, whole
from syncd.sources.convert.api import BUSY, PAGE, Api, Refused
from syncd.sources.convert.dimensions import ANY_SCORE, DIMENSIONS, STATUSES
from syncd.sources.convert.exports import link_in
from syncd.sources.convert.listing import Experience
from syncd.sources.convert.paths import A, E, P, path
from syncd.sources.convert.reported import metrics_of, of_aggregated, of_daily, of_file, of_link
from syncd.sources.convert.reports import METRICS, UTC_OFFSET
from syncd.sources.convert.signing import LIFE_S, Bearer, Proof

MOST = 4 << 20  # bytes of a report's file that are read
LIVES = (300, 3600, 86400)  # seconds ahead that Expires may lie
ALIKE_S = 3  # that two clocks may differ: the vendor's is told in whole seconds
KINDS = {"a/b", "a/a", "mvt", "split_url", "multipage", "deploy", "a/b_fullstack", "feature_rollout"}
KEYS = {  # what the vendor's reference names (April 2026)
    "a project": {
        *("id", "account_id", "name", "project_type", "status", "type", "accessRole", "owner_email", "created_at"),
        *("modified_at", "settings", "reporting_settings", "integrations_settings", "custom_domain", "environments"),
        *("stats", "default_goals", "default_audiences", "default_locations", "domains", "global_javascript"),
        *("tracking_snippet", "sdk_key"),
    },
    "an experience": {
        *("id", "project", "name", "key", "description", "objective", "status", "type", "version", "start_time"),
        *("end_time", "traffic_distribution", "primary_goal", "url", "global_js", "global_css", "settings"),
        *("site_area", "environment", "environments", "integrations", "multipage_pages", "customizations"),
        *("screenshots_info", "tags", "alerts", "collaborators", "audiences", "locations", "goals", "variations"),
        *("stats", "min_running_timestamp", "max_running_timestamp"),
    },
    "a record of the history": {
        *("event", "method", "object", "object_id", "parent_object_id", "user", "timestamp", "request_id", "changes"),
        *("info", "project"),
    },
    "a live event": {
        *("event_type", "timestamp", "devices", "browser", "country", "visitor_type", "campaign", "custom_segments"),
        *("sources", "experiences", "conversion", "project"),
    },
    "a metric": {
        *("metric_type", "metric_total", "metric_value", "metric_change", "metric_interval", "confidence"),
        *("statistically_significant", "estimated_progress", "remaining_samples", "observed_power", "powerful", "done"),
        *("srm", "srm_pvalue", "chance_to_win", "expected", "risk"),
    },
    "a refusal": {"code", "message", "fields", "parameters", "isError"},
}
NOT_ASKED = {
    "raw data": "never asked for: the vendor works, and may send a mail",
    "the largest project export": "not asked for: it may be large",
}


class Probe:
    """One look at an account. `stranger`: the same account with a wrong secret."""

    def __init__(self, api: Api, stranger: Api, witness: Witness, base_url: str, proof: Proof, account: int) -> None:
        self._api, self._stranger, self._witness, self._proof = api, stranger, witness, proof
        self._base_url, self._account = base_url.rstrip("/"), account
        self._answers = witness.answers
        self._keys = Keys(KEYS, frozenset().union(*KEYS.values()))
        self._project, self._rows = 0, list[Json]()
        self._experience: Experience | None = None

    def findings(self, *, provoke: bool, exports: bool) -> Iterator[Finding]:
        """Everything; a chapter that breaks off says so and holds up no other. `exports`: report files are mirrored."""
        chapters = {
            "account": self._of_account,
            "projects": self._projects,
            "experiences": self._experiences,
            "lists": self._lists,
            "paths": self._paths,
            "history": self._history,
            "live data": self._live,
            "reports": self._reports,
            "a report's file": lambda: self._report_file(exports=exports),
            "other exports": lambda: (Finding(unknown, "", why) for unknown, why in NOT_ASKED.items()),
            **({"provoked": self._provoked} if provoke else {}),
            "limits": self._limits,
        }
        return by_chapters(chapters, self._answers)

    # ---- the account and its lists

    def _of_account(self) -> Iterator[Finding]:
        answer = self._get("/accounts")
        yield tally("the role of the key", (word(row.get("accessRole")) for row in rows(answer) if "accessRole" in row))
        skew = clock_skew(self._answers[-1])
        apart = (
            "" if skew is None else "ours" if abs(skew) <= ALIKE_S else f"about {round(skew / 5) * 5:+d} s beside ours"
        )
        yield Finding("the vendor's clock", apart)
        details = self._get(f"{A}/details", account=self._account)
        yield Finding("a single object comes", "inside data" if "data" in details else "bare")
        for template in (f"{A}/users-accesses", "/billing-plans", "/access-roles"):
            yield self._may_be(template)

    def _projects(self) -> Iterator[Finding]:
        asked = dict(DIMENSIONS["projects"].body or {})
        listed = self._listed(f"{A}/projects", asked)
        self._keys.note("a project", listed)
        yield tally("types of projects", (word(row.get("project_type")) for row in listed))
        types = {row.get("project_type") for row in listed}
        bare = {row.get("project_type") for row in rows(self._post(f"{A}/projects", {"results_per_page": PAGE}))}
        unasked = "all" if bare == types else f"{', '.join(map(word, bare))} only"
        yield Finding("projects without a type asked for", unasked if len(types) > 1 else "")
        strange = self._post_or_none(f"{A}/projects", {**asked, "surely_no_key": 1})
        yield Finding("an unknown key in a body", "refused" if strange is None else "ignored", f"HTTP {self._status}")
        for row in listed:
            with suppress(Refused):  # a project that is listed, and not to be read
                if self._choose(whole(row.get("id")) or 0):
                    break

    def _choose(self, project: int) -> bool:
        """Look at this project from now on; whether it has an experience that ran."""
        dimension = DIMENSIONS["experiences"]
        found = self._listed(dimension.template, dimension.body or {}, project=project)
        self._project, self._rows = project, found
        read = filter(None, (Experience.read(project, row) for row in found))
        self._experience = max((each for each in read if each.started), key=lambda each: len(each.goals), default=None)
        return self._experience is not None

    def _experiences(self) -> Iterator[Finding]:
        found, template = self._rows, f"{P}/experiences"
        self._keys.note("an experience", found)
        yield tally("states of experiences", (word(row.get("status")) for row in found))
        yield tally("types of experiences", (known(row.get("type"), KINDS) for row in found))
        bare = self._listed(template, {"sort_by": "id", "sort_direction": "asc"}, project=self._project)
        missing = {row.get("status") for row in found} - {row.get("status") for row in bare}
        extra = {row.get("status") for row in bare} - {row.get("status") for row in found}
        forms = [f"lacks {word(one)}" for one in missing] + [f"adds {word(one)}" for one in extra]
        seen = f"{len(bare)} without, {len(found)} with {len(STATUSES)} states asked for"
        yield Finding("a list without states asked for", ", ".join(sorted(forms)) or "the same" * bool(found), seen)
        goals = [member for row in found for member in inner_list(row.get("goals"))]
        yield tally("references come as", ("objects" if isinstance(each, Mapping) else "ids" for each in goals))
        yield tally("ids are", (json_kind(row.get("id")) for row in found))
        never = [row.get(key) for row in found for key in ("start_time", "end_time") if not row.get(key)]
        yield tally("a time that is not yet", (f"{value}" if value is not None else "null" for value in never))

    def _lists(self) -> Iterator[Finding]:
        template = f"{P}/experiences"

        def page(number: int) -> list[Any] | None:
            body = {"page": number, "results_per_page": 1, "sort_by": "id", "sort_direction": "asc"}
            found = self._post_or_none(template, {**body, "status": STATUSES}, project=self._project)
            return None if found is None else [row.get("id") for row in rows(found)]

        yield from of_pages("experiences", [row.get("id") for row in self._rows], page, self._answers)
        body = {"results_per_page": PAGE, "sort_by": "timestamp", "sort_direction": "desc"}
        answer = self._post(f"{A}/change-history", body)
        paging = pagination(answer)
        yield Finding("lists tell their pages", "yes" if paging else "no", ", ".join(sorted(map(word, paging))))
        got, pages = len(rows(answer)), whole(paging.get("pages_count"))
        yield Finding("rows on a page", str(got) if pages is None or pages > 1 else "", f"of {PAGE} asked for")
        first = self._post_or_none(f"{P}/images", {"max_results": 2}, project=self._project)
        keys = [row.get("key") for row in rows(first or {})]
        if len(keys) > 1:
            behind = self._post(f"{P}/images", {"max_results": 2, "start_from": keys[0]}, project=self._project)
            inclusive = [row.get("key") for row in rows(behind)][:1] == keys[:1]
            yield Finding("images from a key on", "begin with it" if inclusive else "begin behind it")
        else:
            yield Finding("images from a key on", "", f"{len(keys)} images")
        scores = {"status": DIMENSIONS["hypotheses"].body["status"], "scoreMin": 0}  # type: ignore[index]
        high = self._post_or_none(f"{P}/hypotheses", {**scores, "scoreMax": ANY_SCORE}, project=self._project)
        yield Finding("hypotheses with a score above 5", "refused" if high is None else "may be asked for")

    def _paths(self) -> Iterator[Finding]:
        """Those that are known by their pattern only."""
        for template in (f"{P}/locations-presets", f"{P}/audiences-presets"):
            yield self._may_be(template, project=self._project)
        if self._experience:
            yield self._may_be(f"{E}/sections", **self._chosen)

    def _may_be(self, template: str, **of: int) -> Finding:
        with suppress(Refused, ConfigError):
            self._get(template, account=self._account, **of)
        return Finding(f"GET …/{template.rpartition('/')[2]}", f"HTTP {self._status}")

    # ---- logs

    def _history(self) -> Iterator[Finding]:
        body = {"results_per_page": PAGE, "sort_by": "timestamp", "sort_direction": "desc"}
        answer = self._post(f"{A}/change-history", body)
        records, paging = rows(answer), pagination(answer)
        self._keys.note("a record of the history", records)
        pages = whole(paging.get("pages_count")) or 1
        last = rows(self._post(f"{A}/change-history", {**body, "page": pages})) if pages > 1 else records
        oldest = min((at for row in last if (at := seconds(row.get("timestamp")))), default=0)
        age = f"{(time.time() - oldest) / 86400:.0f} days back" if oldest else ""
        yield Finding("the history reaches", age, f"{paging.get('items_count', len(records))} records, {pages} pages")
        yield tally("records are of", (word(row.get("object")) for row in records))
        requests = Counter(str(row.get("request_id")) for row in records if row.get("request_id"))
        shared = sum(count > 1 for count in requests.values())
        form = "tells several records" if shared else "tells one record" if requests else "is null"
        yield Finding("request_id", form if records else "")
        below = rows(self._post(f"{P}/change-history", body, project=self._project))
        here = {logs.identity(bare_record(row)) for row in records}
        oldest_here = min((seconds(row.get("timestamp")) for row in records), default=0)
        due = [row for row in below if seconds(row.get("timestamp")) > oldest_here]
        lacking = sum(logs.identity(bare_record(row)) not in here for row in due)
        complete = "all of a project's" if not lacking else f"lacks {lacking} of {len(due)} of a project"
        yield Finding("the account's history has", complete if due else "", f"{len(due)} records compared")

    def _live(self) -> Iterator[Finding]:
        events = rows(self._post(f"{A}/livedata", {}))
        self._keys.note("a live event", events)
        times = sorted(at for row in events if (at := seconds(row.get("timestamp"))))
        span = f"{(times[-1] - times[0]) / 60:.0f} minutes" if len(times) > 1 else ""
        yield Finding("live data reaches back", span, f"{len(events)} events")
        alike = Counter(logs.identity(row) for row in events)
        yield Finding("equal live events", ("yes" if max(alike.values()) > 1 else "no") if events else "")

    # ---- reports and their files

    @property
    def _chosen(self) -> dict[str, int]:
        assert self._experience
        return {"project": self._experience.project, "experience": self._experience.id}

    def _reports(self) -> Iterator[Finding]:
        if not self._experience:
            yield Finding("reports", "", "no experience has begun")
            return
        goals = list(self._experience.goals)
        report = self._post(f"{E}/aggregated_report", {"goals": goals, "utc_offset": UTC_OFFSET}, **self._chosen)
        self._keys.note("a metric", metrics_of(report))
        yield from of_aggregated(report)
        if goals:
            wanted = {"goal": goals[0], "metric": METRICS[0], "report_type": "non_cumulative", "utc_offset": UTC_OFFSET}
            yield from of_daily(self._post(f"{E}/daily_report", wanted, **self._chosen))

    def _report_file(self, *, exports: bool) -> Iterator[Finding]:
        if not self._experience or not exports:
            why = "report_export is off" if self._experience else "no experience has begun"
            yield Finding("a report's file", "", why)
            return
        body: Json = {"report_type": "csv_aggregated_tabular", "data_type": "non_cumulative", "utc_offset": UTC_OFFSET}
        asked = self._post_or_none(f"{E}/export_report", body, **self._chosen)
        yield Finding("this key may export", f"no (HTTP {self._status})" if asked is None else "yes")
        if asked is None:
            return
        link = link_in(asked)
        yield from of_link(asked, link)
        if not link:
            return
        held = b""
        with self._api.download(link) as file:
            for block in file:
                held += block
                if len(held) > MOST:
                    break
        yield from of_file(held)

    # ---- limits, and what is only seen when it is provoked

    def _provoked(self) -> Iterator[Finding]:
        before = len(self._answers)
        self._api.pace.spacing_s, spacing = 0.0, self._api.pace.spacing_s
        for _ in range(MANY):
            with suppress(SyncdError):
                self._api.get("/accounts")
        self._api.pace.spacing_s = max(spacing, self._api.pace.spacing_s)
        refused = [answer for answer in self._answers[before:] if answer.status >= 300]
        yield Finding(
            f"{MANY} requests without a pause", refusals(refused, code) or "all answered", f"{len(refused)} refused"
        )
        with suppress(SyncdError):
            self._stranger.get("/accounts")
        yield Finding("a wrong secret", f"HTTP {self._status}")
        yield from self._signatures()

    def _signatures(self) -> Iterator[Finding]:
        """What a signature may be like: each is one request that differs in one thing."""
        if isinstance(self._proof, Bearer):
            yield Finding("signatures", "", "this key is of the bearer kind")
            return
        lives = [ahead for ahead in LIVES if self._sent(ahead=ahead - LIFE_S)]
        yield Finding(
            "Expires may lie ahead",
            f"{max(lives)} s" if lives else f"less than {LIVES[0]} s",
            "of " + ", ".join(map(str, LIVES)),
        )
        query = "?include[]=stats"
        forms = {"signed with it": query, "signed without it": ""}
        taken = [form for form, signed in forms.items() if self._sent(query=query, signed=signed)]
        yield Finding("a query string", ", ".join(taken) or "refused either way")
        spaced = b'{"results_per_page": 1, "surely_no_key": 1.0}'
        yield Finding("a body is signed", "as it is sent" if self._sent(body=spaced) else "in another spelling")

    def _sent(self, *, query: str = "", signed: str = "", body: bytes = b"", ahead: float = 0.0) -> bool:
        """Whether a read is taken that is signed as told."""
        method, template = ("POST", f"{A}/projects") if body else ("GET", f"{A}/details")
        url = self._base_url + path(method, template, account=self._account)
        request = self._witness.build_request(
            method, url + query, content=body or None, headers={"Content-Type": "application/json"}
        )
        proof = self._proof.headers(str(request.url) if signed == query else url, body, lambda: time.time() + ahead)
        request.headers.update(proof)
        with self._api.pace.turn(), suppress(httpx.RequestError):
            return self._witness.send(request, auth=None).status_code not in (401, 403)
        return False

    def _limits(self) -> Iterator[Finding]:
        """Throttling may come as 500 (observed), so its words are looked for; none is shown."""
        busy = [each for each in self._answers if each.status == 429 or each.status >= 500]
        for each in busy:
            self._keys.note("a refusal", [each.body] if isinstance(each.body, Mapping) else [])
        throttled = sum(each.status >= 500 and bool(BUSY.search(said(each.body))) for each in busy)
        settled = any(each.status == 429 or throttled for each in busy)
        yield Finding("throttling comes as", ("500" if throttled else "429") * settled, f"{len(busy)} such answers")
        yield Finding(
            "requests are apart", f"{self._api.pace.spacing_s:.1f} s", "at the end; it grows at each complaint"
        )
        yield tally("a success is", (f"HTTP {each.status}" for each in self._answers if each.status < 300))
        yield from of_manners(self._answers, busy, code)
        yield from self._keys.findings()

    # ---- asking

    @property
    def _status(self) -> int:
        return self._answers[-1].status

    def _get(self, template: str, **of: int) -> Any:
        return patiently(lambda: self._api.get(template, **of))

    def _post(self, template: str, body: Mapping[str, Any], **of: int) -> Any:
        return patiently(lambda: self._api.post(template, body, account=self._account, **of))

    def _post_or_none(self, template: str, body: Mapping[str, Any], **of: int) -> Any:
        """The answer; None: refused."""
        try:
            return self._post(template, body, **of)
        except (Refused, ConfigError):
            return None

    def _listed(self, template: str, body: Mapping[str, Any], **of: int) -> list[Json]:
        ids = {"account": self._account, **of}
        return patiently(lambda: self._api.listed(template, body, None, **ids))


def kind_of(request: httpx.Request) -> str:
    """The last step of the path, which is never an id."""
    last = request.url.path.rpartition("/")[2]
    return last if not last.isdecimal() else "…"


def known(value: object, words: set[str]) -> str:
    return value if isinstance(value, str) and value in words else word(value)


def inner_list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else list(value.values()) if isinstance(value, Mapping) else ()


def pagination(answer: Any) -> Mapping[str, Any]:
    extra = answer.get("extra") if isinstance(answer, Mapping) else None
    found = extra.get("pagination") if isinstance(extra, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def bare_record(record: Json) -> Json:
    """A record of the history without what only its level tells."""
    return {key: value for key, value in record.items() if key != "project"}


def clock_skew(answer: Any) -> float | None:
    """Seconds that the vendor's clock is ahead of ours; None: it doesn't say."""
    try:
        return parsedate_to_datetime(answer.headers.get("date", "")).timestamp() - time.time()
    except ValueError:
        return None


def code(body: object) -> str:
    """What a refusal has besides its status: the form of its message."""
    return f"message.{json_kind(body.get('message'))}" if isinstance(body, Mapping) else ""
