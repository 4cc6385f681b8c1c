"""What Cordial in a box offers, and every trouble it can make: one field is one knob, its default is peace."""

from __future__ import annotations

from dataclasses import dataclass

from syncd.sandbox.knobs import Checked, knob


@dataclass(frozen=True, kw_only=True)
class Offer(Checked):
    """What the account has, and where its buckets are."""

    seed: int = knob(0, "same seed, same events")
    rows: int = knob(200, "events a day")
    no_zone: bool = knob(False, "start no SFTP server: deliver only where requests say")
    saved_key_file: str = knob("", "the SSH key behind every savedKey")
    ftp_tls: bool = knob(False, "deliver to FTP servers with TLS")
    zone_no_folders: bool = knob(False, "its SFTP server lets nobody make a folder")
    s3_endpoint: str = knob("", "where destinations of type s3 are; default: Amazon's own")
    gcs_endpoint: str = knob("", "where destinations of type gcs are; default: Google's own")
    azure_endpoint: str = knob("", "where destinations of type azureblob are; default: Microsoft's own")
    azure_key: str = knob("", "the key to the storage accounts of these destinations")


@dataclass(frozen=True, kw_only=True)
class Trouble(Checked):
    """Everything the vendor's pages leave open, and everything that breaks."""

    # Asking; each of these happens to the first N requests of its kind
    post_cuts: int = knob(0, "cut the connection after the first N exports were taken")
    post_fails: int = knob(0, "refuse the first N exports with --post-status")
    post_status: int = knob(503, "how an export is refused: 503, 429, 500, 400, 406, 415, 422, 401, 403")
    get_fails: int = knob(0, "refuse the first N looks at jobs with --get-status")
    get_status: int = knob(503, "how a look is refused")
    retry_after: float = knob(-1.0, "seconds in Retry-After of a refusal (-1: no such header)")
    rate_reset: float = knob(-1.0, "seconds in X-Rate-Limit-Reset of a refusal (-1: no such header)")
    wrong_key: str = knob("401", "how a wrong key is answered", "401", "403")

    # Jobs
    job_takes: float = knob(0.2, "seconds that a job works")
    states: str = knob("Scheduled,Pending,Processing", "what a job is before it ends, in turn; any word")
    job_fails: int = knob(0, "the first N jobs fail")
    silent_failure: bool = knob(False, "a failed job doesn't say why")
    id_key: str = knob("_id", "the key of a job's id", "_id", "id", "jobId", "oid")
    metadata: str = knob("name", "what a job's metadata holds of its name", "name", "fileName", "key", "none")
    amounts: str = knob("rows", "what totalItems and completedItems say", "rows", "more", "zero", "absent")
    forgotten: bool = knob(False, "a job that has ended is answered with 404")
    page_cap: int = knob(25, "jobs a page")
    page_base: int = knob(1, "the number of the first page")
    list_order: str = knob("new", "how jobs are listed", "new", "old", "random")
    no_iso_filter: bool = knob(False, "a filter by time in ISO form is refused with 422")
    strangers: int = knob(0, "jobs of somebody else, listed too")

    # Landing
    naming: str = knob(
        "name", "name.json, with a time stamp, name-1.json, name_part0001.json, or the path's last step as the file",
        "name", "stamp", "number", "part", "segment",
    )  # fmt: skip
    early: bool = knob(False, "files are seen half written before the job is done")
    late: float = knob(0.0, "seconds after Done that files arrive")
    late_chunks: float = knob(0.0, "seconds between two files")
    empty_as: str = knob(
        "none", "an export without rows: no file, an empty one, only a header", "none", "file", "header"
    )
    foreign: bool = knob(False, "files of somebody else lie beside ours")
    truncated: int = knob(0, "the first N files end in the middle")
    no_folders: bool = knob(False, "a folder that isn't there makes the job fail")

    # Rows
    times: str = knob("+0000", "how an instant is spelled", "+0000", "+00:00", "Z", "ms")
    first: str = knob("bool", "what first is", "bool", "int", "absent", "mixed")
    keys: str = knob("nested", "objects as they are, as dotted keys, or raw names", "nested", "dotted", "raw")
    two_types: bool = knob(False, "the property amount is a number in one event, text in the next")
    new_keys: bool = knob(False, "events of the last day have keys that earlier ones lack")
    merged: bool = knob(False, "every export tells another cID for the same event: contacts were merged")
    no_ids: int = knob(0, "rows a file without _id")
    late_rows: float = knob(0.0, "hours that every tenth event takes to be seen")
    inclusive_end: bool = knob(False, "an event at the very end of the timeframe is exported")
    header: str = knob("each", "CSV: which files have a header", "each", "first", "none")
    bom: bool = knob(False, "CSV begins with a byte order mark")
    crlf: bool = knob(False, "CSV lines end in a carriage return and a newline")
