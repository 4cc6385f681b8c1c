"""What a vendor in a box offers, and every trouble it can make: one field is one knob, its default is peace.

The command line's flags are derived from these fields, so a new knob is one line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from syncd.sandbox.knobs import Checked, knob

WEEK_S = 7 * 86400.0


@dataclass(frozen=True, kw_only=True)
class Offer(Checked):
    """What the vendor has: made by seed, or a folder of given files."""

    seed: int = knob(0, "same seed, same ids and bytes (of one day: periods end yesterday)")
    data: Path | None = knob(None, "serve <scope>-<day>[.<n>].<jsonl|csv>.gz of this folder as daily runs", type=Path)  # noqa: RUF009  # a field
    format: str = knob("", "take this form only; default: jsonl and csv", "", "jsonl", "csv")
    scope: str = knob("", "take this scope only (made runs: sessions or views)")
    frequency: str = knob("", "make all jobs so; default: a mix", "", "daily", "hourly", "once")
    jobs: int = knob(2, "made jobs")
    days: int = knob(3, "days that each made job covers, up to yesterday")
    rows: int = knob(200, "sessions a day; a day of views has about three times as many rows")
    parts: int = knob(2, "files a run")
    prepare: bool = knob(False, "make all files before listening, not each when it is asked for")
    today: str = knob("", "pretend that periods end the day before this one (YYYY-MM-DD)")
    account_level: bool = knob(False, "credentials of an account: the token needs a project_id")


@dataclass(frozen=True, kw_only=True)
class Trouble(Checked):
    """Everything the vendor's pages leave open, and everything that breaks. Defaults: nothing breaks."""

    # Token
    token_life: float = knob(3600.0, "seconds that a token lives")
    no_expires_in: bool = knob(False, "the token answer has no expires_in")
    endpoint: str = knob("plain", "the base URL in the token answer", "plain", "slash", "absent")
    wrong_secret: str = knob("401", "how a wrong secret is answered", "401", "400", "500")
    token_fails: int = knob(0, "answer the first N token requests with 500")
    jwt_expired_every: int = knob(0, "end the token at every Nth API request (401 JWT_EXPIRED)")

    # Lists
    page_base: int = knob(1, "the number of the first page: 0 or 1")
    page_zero: str = knob("first", "page 0 where pages count from 1", "first", "400")
    page_cap: int = knob(0, "pages never hold more than N rows, whatever the limit asked for")
    page_shift: int = knob(0, "during the first walk N runs appear at the head of the list (-N: vanish)")
    past_end: str = knob("empty", "a page past the end", "empty", "404", "400", "last")
    reshuffle: bool = knob(False, "the order within a job changes with every request")
    legacy_formats: bool = knob(False, "jobs and runs say JSONEachRow and CSVWithNames")
    frequency_object: bool = knob(False, "frequency is an object in answers")
    null_dates: bool = knob(False, "a job's dates are null")
    completion_rate: int = knob(100, "what a finished run's completionRate says: 1 or 100")
    wrong_count: bool = knob(False, "nbOfFiles is one too many")
    period_end: str = knob("exclusive", "to = next midnight, or 23:59:59.999", "exclusive", "inclusive")
    scope_name: str = knob("", "the name that all scopes go by in answers")

    # Load
    concurrency_limit: int = knob(10, "API requests at once; one more is refused")
    refuse_every: int = knob(0, "refuse every Nth API request")
    refuse_times: int = knob(0, "refuse so N times, then no more (0: for ever)")
    refuse_with: str = knob(
        "429", "the refusal: 400 and 403 talk of concurrency, 200 has success false",
        "429", "503", "400", "403", "200", "500", "cut",
    )  # fmt: skip
    retry_after: float = knob(-1.0, "seconds in the refusal's Retry-After (-1: no such header)")
    retry_after_date: bool = knob(False, "Retry-After is a date")
    latency: float = knob(0.0, "seconds that each API request takes")
    post_cut: bool = knob(False, "creating a job succeeds, but the answer never comes")
    once_takes: float = knob(0.2, "seconds that a once job runs")

    # Links
    link_life: float = knob(WEEK_S, "seconds that a signed link works")
    link_fixed: bool = knob(False, "reading a run again gives the same link, also when it has expired")
    link_life_hidden: bool = knob(False, "expirationDate tells the files' end, not the link's")
    file_size: str = knob(
        "packed",
        "what fileSize says (of a big file not made yet: an estimate)",
        "packed",
        "unpacked",
        "wrong",
        "absent",
    )

    # Bodies; each part suffers `fault_times` times from each of the faults
    fault_times: int = knob(1, "how often each part suffers the faults below (0: always)")
    drop_at: float = knob(0.0, "reset the connection after this share of the body")
    close_at: float = knob(0.0, "close the connection after this share of the body")
    truncate_at: float = knob(0.0, "end the file there, with a Content-Length that fits")
    stall_at: float = knob(0.0, "stop sending after this share of the body, for --stall-s")
    stall_s: float = knob(3600.0, "seconds that a stall lasts")
    wrong_length: int = knob(0, "Content-Length is N too big (-N: too small)")
    file_status: int = knob(0, "answer a file request with this status, 503 for example")
    slow: int = knob(0, "send bodies at N bytes a second")
    chunked: bool = knob(False, "no Content-Length: chunked")
    no_range: bool = knob(False, "Range is ignored")
    etag: str = knob("strong", "the validator of a file", "strong", "weak", "changing", "absent")
    body: str = knob(
        "gzip", "gzip; bare text; gzip marked as Content-Encoding; gzip with rubbish behind",
        "gzip", "plain", "encoded", "rubbish",
    )  # fmt: skip
    members: int = knob(1, "gzip members a part: each but the last has one line")

    # Runs; how many of each job's
    restated_runs: int = knob(0, "periods delivered a second time, with grown sessions")
    failed_runs: int = knob(0, "periods that failed at the vendor")
    empty_runs: int = knob(0, "periods without rows")
    empty_as: str = knob("none", "an empty run: no files, one that is", "none", "file", "header", "bytes")
    expired_runs: int = knob(0, "oldest periods whose files are gone")
    expired_hidden: bool = knob(False, "expired runs are no longer listed")

    # Rows; a run keeps what held when it was made
    nested: bool = knob(False, "groups are objects instead of dotted keys (JSONL)")
    bare: bool = knob(False, "64-bit integers are not quoted (JSONL)")
    booleans: bool = knob(False, "true and false instead of 1 and 0 (JSONL)")
    absent_nulls: bool = knob(False, "a null is an absent key (JSONL)")
    plain_slashes: bool = knob(False, "slashes are not escaped (JSONL)")
    times: str = knob("seconds", "2026-01-05 12:05:28, without seconds, or T…Z", "seconds", "minutes", "iso")
    unknown_fields: int = knob(0, "columns no dictionary knows, from the second period of a job on")
    type_change: str = knob("", 'what "VoC score" becomes in a job\'s later half', "", "text", "fraction", "big")
    broken_lines: int = knob(0, "lines a part that are no record")
    blank_lines: int = knob(0, "blank lines a part")
    no_header: bool = knob(False, "CSV has no header, as plain CSV of old")
    no_final_newline: bool = knob(False, "the last line has no newline")
