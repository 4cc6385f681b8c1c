"""What Convert in a box has, and every form that the vendor leaves open: one knob each, its default is peace."""

from __future__ import annotations

from dataclasses import dataclass

from syncd.sandbox.knobs import Checked, knob


@dataclass(frozen=True, kw_only=True)
class Offer(Checked):
    """What the account has: made by seed."""

    seed: int = knob(0, "same seed, same account")
    experiences: int = knob(6, "experiences of each project, in every status and of every type")
    goals: int = knob(3, "goals of each project; every experience has all of them")
    days: int = knob(5, "days that a daily report covers")
    entries: int = knob(3, "entries of each other list")
    history: int = knob(60, "change history records of each project")
    auth: str = knob("signing", "the kind of the key", "signing", "bearer")


@dataclass(frozen=True, kw_only=True)
class Trouble(Checked):
    """Everything that is unknown of the vendor, and everything that breaks."""

    # Keys
    skew: float = knob(0.0, "seconds that the vendor's clock is ahead of ours")
    longest_life: float = knob(300.0, "seconds ahead that Expires may lie")
    no_project: int = knob(0, "a project that the key may not read (403), though it is listed")
    hide_project: bool = knob(False, "and that isn't listed either")

    # Answers
    refuse_every: int = knob(0, "refuse every Nth API request")
    refuse_times: int = knob(0, "refuse so N times, then no more (0: for ever)")
    refuse_with: str = knob(
        "429", "the refusal: 500-busy is how the vendor was seen to throttle",
        "429", "500-busy", "500", "503", "422", "422-list", "403", "404", "page", "cut", "late",
    )  # fmt: skip
    refuse_path: str = knob("", "refuse only requests whose path ends so")
    retry_after: float = knob(-1.0, "seconds in the refusal's Retry-After (-1: no such header)")
    errors: str = knob("fields", "what an error body has besides its message", "fields", "parameters", "isError")
    ok: int = knob(200, "the status of a success: 200, 201 or 202")
    latency: float = knob(0.0, "seconds that each API request takes")
    lack: bool = knob(False, "paths that are by pattern only answer 404")

    # Lists
    shift: int = knob(0, "during the first walk of a list N entries appear at its head (-N: vanish)")
    page_cap: int = knob(50, "pages never hold more than N entries")
    no_extra: bool = knob(False, "lists tell no pagination")
    references: str = knob("ids", "how references come that nobody expanded", "ids", "objects")
    scores: str = knob("takes", "hypotheses with a scoreMax above 5", "takes", "refuses")
    images: str = knob("exclusive", "whether a page of images begins with the one named", "exclusive", "inclusive")
    single: str = knob("bare", "how single objects come", "bare", "data")
    numbers_as_text: bool = knob(False, "ids are text")
    zero_times: str = knob("0", "what stands for a time that is not yet", "0", "null")
    odd: bool = knob(False, "unknown statuses and types, new fields, fractions where integers were said")
    keys_reversed: bool = knob(False, "objects come with their keys in another order at every second request")

    # Reports
    report_data: str = knob("array", "reportData and variations are lists, or objects by id", "array", "object")
    deprecated: bool = knob(False, "conversion_data and its like are there too")
    revenue: bool = knob(False, "metric_total of revenue has decimals")
    moving: bool = knob(False, "figures grow with every call")
    zeroed: int = knob(0, "an experience whose report was reset: all zero")

    # Exports
    link: str = knob("download_url", "how export_report answers", "download_url", "string", "empty")
    link_life: float = knob(60.0, "seconds that a link works")
    link_cut: int = knob(0, "the first N downloads die half way")
    link_damaged: int = knob(0, "the first N files were written by half")
    packing: str = knob("plain", "how a file is packed", "plain", "gzip", "zip")
    raw: str = knob("job", "how export_raw_data answers", "job", "download_url", "string", "empty", "odd", "late")
    raw_form: str = knob("csv", "what a raw file is", "csv", "jsonl")
    raw_rows: int = knob(40, "events in a raw file")

    # Logs
    live_step: int = knob(40, "events that come between two polls: below 100 windows overlap, at 100 they touch")
    live_equal: bool = knob(False, "several equal events within a second")
    history_shift: int = knob(0, "while the history is read for the first time, N records are added")
    null_requests: bool = knob(False, "request_id is null; else one request has several records")
