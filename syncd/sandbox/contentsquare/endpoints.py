"""The nine endpoints of the Data Export API, over an account. Pure answers: (status, payload) or `Refused`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NoReturn, TypeVar
from zlib import crc32

import orjson

from syncd.sandbox.contentsquare import sessions
from syncd.sandbox.contentsquare.account import DEVICES, STEPS, WEEK, Account, Job, Run
from syncd.sandbox.contentsquare.files import Files
from syncd.sandbox.server import Call

T = TypeVar("T")
_LEGACY = {"jsonl": "JSONEachRow", "csv": "CSVWithNames"}


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def json_body(call: Call) -> dict[str, Any]:
    """The request body; Refused when it is no JSON object (a trailing comma, as in the vendor's examples)."""
    try:
        body = orjson.loads(call.body or b"{}")
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"Invalid JSON: {error}", "INVALID_BODY") from error
    return body if isinstance(body, dict) else _invalid("the body must be an object")


def answer(call: Call, account: Account, files: Files, url: str, counts: Counter[str]) -> tuple[int, Any]:
    """The payload of an endpoint. `counts` remembers walks."""
    now = datetime.now(UTC)
    match call.method, call.path.strip("/").split("/")[1:]:
        case "GET", ["exports"]:
            descending = call.query.get("order", "DESC").upper() != "ASC"
            jobs = [job for job in account.jobs if _asked_for(call, job)]
            jobs.sort(key=lambda job: job.id, reverse=descending)
            return 200, [job_told(job, account, now) for job in _page(jobs, call, account)]
        case "POST", ["exports"]:
            return 201, {"jobId": _create(json_body(call), account, now).id}
        case "GET", ["exports", "successful-runs"]:
            return 200, [_finished_told(run, account) for run in _successful(call, account, counts)]
        case "GET", ["exports", job_id]:
            return 200, job_told(_job(account, job_id), account, now)
        case "GET", ["exports", job_id, "runs"]:
            runs = _shuffled(_job(account, job_id).runs, account, counts)
            state = call.query.get("state", "").upper()
            runs = [run for run in runs if state in ("", run.state)]
            return 200, [_run_told(run, account) for run in _page(runs, call, account)]
        case "GET", ["exports", job_id, "runs", run_id]:
            run = next((run for run in _job(account, job_id).runs if str(run.id) == run_id), None)
            return 200, _run_with_files(run or _unknown("run"), account, files, url, now)
        case "GET", ["exportable-fields"]:
            scope = call.query.get("scope") or _invalid("scope is required")
            return 200, sessions.exportable(scope if scope in sessions.FIELDS else _invalid("no such scope"))
        case "GET", ["custom-vars"]:
            return 200, sessions.CUSTOM_VARS
        case "GET", ["dynamic-var-keys"]:
            return 200, [{"key": key, "type": "string"} for key in sessions.DYNAMIC_KINDS]
    raise Refused(404, "No such endpoint.", "NOT_FOUND")


def _invalid(message: str) -> NoReturn:
    raise Refused(400, message, "INVALID_PARAMETER")


def _unknown(what: str) -> NoReturn:
    raise Refused(404, f"No such {what}.", "NOT_FOUND")


def iso(instant: datetime) -> str:
    """As the vendor writes instants."""
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ---- lists


def _asked_for(call: Call, job: Job) -> bool:
    told = {"format": job.form, "scope": job.scope, "state": job.state, "frequency": job.frequency}
    return all(call.query.get(name, value).lower() == value.lower() for name, value in told.items())


def _shuffled(runs: Sequence[Run], account: Account, counts: Counter[str]) -> list[Run]:
    """Within a job the order means nothing; it stays the same unless `reshuffle`."""
    counts["shuffles"] += account.trouble.reshuffle
    salt = counts["shuffles"]
    return sorted(runs, key=lambda run: crc32(b"%d %d" % (salt, run.id)))


def _finished(call: Call, account: Account, counts: Counter[str]) -> list[Run]:
    """By jobId; kept until something changes, for a long walk asks a hundred times."""
    descending = call.query.get("order", "DESC").upper() != "ASC"
    key = (account.changes, descending, counts["shuffles"] + account.trouble.reshuffle)
    if account.listing[0] != key:
        runs = [run for run in _shuffled(account.runs, account, counts) if run.state == "SUCCESS" and run.listed]
        runs.sort(key=lambda run: run.job.id, reverse=descending)
        account.listing = (key, runs)
    return account.listing[1]


def _successful(call: Call, account: Account, counts: Counter[str]) -> list[Run]:
    runs = _finished(call, account, counts)
    shift, base = account.trouble.page_shift, account.trouble.page_base
    if int(call.query.get("page") or base) > base:
        counts["shifted"] = 1
    if shift > 0 and not counts["shifted"]:
        runs = runs[shift:]
    if shift < 0 and counts["shifted"]:
        runs = runs[-shift:]
    return _page(runs, call, account)


def _page(rows: Sequence[T], call: Call, account: Account) -> list[T]:
    trouble = account.trouble
    try:
        limit = min(int(call.query.get("limit", 25)), 100)
        page = int(call.query.get("page", trouble.page_base)) - trouble.page_base
    except ValueError:
        _invalid("limit and page are integers")
    if page == -1:
        page = 0 if trouble.page_zero == "first" else _invalid("page must be 1 or more")
    if limit < 1 or page < 0:
        _invalid("limit and page must be positive")
    limit = min(limit, trouble.page_cap or limit)
    if page and page * limit >= len(rows):
        match trouble.past_end:
            case "404":
                _unknown("page")
            case "400":
                _invalid("page is out of range")
            case "last":
                page = max(0, len(rows) - 1) // limit
    return list(rows[page * limit : (page + 1) * limit])


# ---- what is told of a job and of a run


def _form_told(job: Job, account: Account) -> str:
    return _LEGACY[job.form] if account.trouble.legacy_formats else job.form.upper()


def _frequency_told(job: Job, account: Account) -> Any:
    if not account.trouble.frequency_object:
        return job.frequency
    dates = {"dateRange": {"from": iso(job.period[0]), "to": iso(job.period[1])}} if job.period else {}
    return {"value": job.frequency} | dates


def job_told(job: Job, account: Account, now: datetime) -> dict[str, Any]:
    """A job as the vendor lists it."""
    told = {
        "jobId": job.id,
        "name": job.name,
        "ownerId": 7,
        "lastUpdatorId": 7,
        "accountId": 3,
        "projectIds": [sessions.PROJECT],
        "state": job.state,
        "format": _form_told(job, account),
        "scope": account.trouble.scope_name or job.scope,
        "frequency": _frequency_told(job, account),
        "fields": job.fields,
        "filters": {"deviceId": job.device},
        "createdAt": iso(job.created_at),
        "updatedAt": iso(job.created_at),
    }
    dates = dict.fromkeys(("nextFrom", "nextTo", "lastRunTime", "nextRunTime"))
    if job.runs and not account.trouble.null_dates:
        dates["lastRunTime"] = iso(max(run.started_at for run in job.runs))
        if step := STEPS.get(job.frequency):
            after = max(run.end for run in job.runs)
            dates |= {"nextFrom": iso(after), "nextTo": iso(after + step), "nextRunTime": iso(now + step)}
    return told | dates


def _finished_told(run: Run, account: Account) -> dict[str, Any]:
    job, trouble = run.job, account.trouble
    end = run.end - timedelta(milliseconds=1) if trouble.period_end == "inclusive" else run.end
    return {
        "jobId": job.id,
        "jobRunId": run.id,
        "name": job.name,
        "projectIds": [sessions.PROJECT],
        "from": iso(run.start),
        "to": iso(end),
        "completionTime": iso(run.completed_at),
        "format": _form_told(job, account),
        "scope": trouble.scope_name or job.scope,
        "frequency": _frequency_told(job, account),
        "nbOfFiles": len(run.parts) + trouble.wrong_count,
    }


def _run_told(run: Run, account: Account) -> dict[str, Any]:
    finished = run.state in ("SUCCESS", "FAILURE")
    return {
        "jobRunId": run.id,
        "startDate": iso(run.started_at),
        "endDate": iso(run.completed_at) if finished else None,
        "state": run.state,
        "completionRate": account.trouble.completion_rate if run.state == "SUCCESS" else 0,
    }


def _run_with_files(run: Run, account: Account, files: Files, url: str, now: datetime) -> dict[str, Any]:
    parts = run.parts if run.state == "SUCCESS" else ()
    told = [files.told(run, part, url, account.trouble, now) for part in parts]
    Random(run.id).shuffle(told)  # noqa: S311  # a part is known by its id, never by position
    return _run_told(run, account) | {"files": told}


def _job(account: Account, job_id: str) -> Job:
    return next((job for job in account.jobs if str(job.id) == job_id), None) or _unknown("job")


def run_named(account: Account, name: str) -> Run:
    """A run by `<jobId>-<jobRunId>`. ValueError: no such run."""
    if name not in account.by_name:
        raise ValueError(f"no run {name!r}")
    return account.by_name[name]


# ---- new jobs and runs


def _create(asked: dict[str, Any], account: Account, now: datetime) -> Job:
    """Check a new job as the vendor's page says, and add it."""
    name, form, scope = (str(asked.get(key) or "") for key in ("name", "format", "scope"))
    if not name:
        _invalid("name must not be empty")
    if form not in ("JSONL", "CSV"):
        _invalid("format must be JSONL or CSV")
    if len(scope) > 255 or scope not in sessions.FIELDS:
        _invalid("scope must be sessions or views")
    if asked.get("deviceLabel") not in DEVICES:
        _invalid("deviceLabel must be all, desktop, mobile or tablet")
    frequency = asked.get("frequency")
    frequency = frequency if isinstance(frequency, dict) else {}
    value = frequency.get("value")
    if value not in ("once", "daily", "hourly"):
        _invalid("frequency.value must be once, daily or hourly")
    period = _date_range(frequency.get("dateRange")) if value == "once" else None
    span = period[1] - period[0] if period else STEPS[value]
    return account.new_job(
        name=name, scope=scope, form=form.lower(), frequency=value, fields=_checked_fields(asked.get("fields"), scope),
        created_at=now, device=DEVICES[asked["deviceLabel"]], period=period, parts=account.offer.parts,
        rows=max(1, round(account.offer.rows * (span / timedelta(days=1)))),
    )  # fmt: skip


def _date_range(told: Any) -> tuple[datetime, datetime]:
    try:
        start, end = (datetime.fromisoformat(told[key]) for key in ("from", "to"))
        start, end = (each if each.tzinfo else each.replace(tzinfo=UTC) for each in (start, end))
    except (TypeError, KeyError, ValueError):
        _invalid("frequency.dateRange.from and .to must be ISO 8601")
    if not timedelta() < end - start <= WEEK:
        _invalid("frequency.dateRange.to must be after from, by at most 7 days")
    return start, end


def _checked_fields(told: Any, scope: str) -> list[dict[str, Any]]:
    if not isinstance(told, list) or not told or not all(isinstance(each, dict) for each in told):
        _invalid("fields must be a list of objects")
    plain = [each.get("fieldName") for each in told if each.get("fieldName") not in ("custom_var", "dynamic_var")]
    if len(set(plain)) < len(plain):
        _invalid("a fieldName can't be given twice")
    for each in told:
        if each.get("fieldName") not in sessions.FIELDS[scope]:
            _invalid(f"no field {each.get('fieldName')!r} in {scope}")
        if each["fieldName"] == "custom_var" and str(each.get("customVarPosition")) not in map(str, range(1, 21)):
            _invalid("customVarPosition must be 1 to 20")
        if each["fieldName"] == "dynamic_var" and not each.get("dynamicVarKey"):
            _invalid("dynamicVarKey is required")
    return told


def add_run(
    account: Account,
    now: datetime,
    *,
    job: int | None,
    restate: str,
    period: str,
    rows: int | None,
    parts: int | None,
    state: str,
    ready_in: float,
) -> Run:
    """What `Api.add_run` promises. ValueError: no such job or run, or a job of given files."""
    earlier = run_named(account, restate) if restate else None
    number = earlier.job.id if earlier else account.jobs[0].id if job is None else job
    found = next((each for each in account.jobs if each.id == number), None)
    if found is None or found.given:
        raise ValueError(f"no made job {number}")
    if earlier:
        start, end = earlier.start, earlier.end
    else:
        step = STEPS.get(found.frequency, STEPS["daily"])
        start = max((run.end for run in found.runs), default=account.today)
        if period:
            start = datetime.fromisoformat(period)
            start = start if start.tzinfo else start.replace(tzinfo=UTC)
        end = start + step
    if ready_in:
        return account.new_run(
            found, (start, end), now + timedelta(seconds=ready_in), state="RUNNING", rows=rows, parts=parts
        )
    return account.new_run(found, (start, end), now, state=state, rows=rows, parts=parts)
