"""`syncd ingest`: files from a person's hands, of any packing, to the run that waits; what is no export is refused."""

from __future__ import annotations

import gzip
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from syncd.errors import ConfigError, SyncdError, TryAgain
from syncd.handover import order_for
from syncd.model import ExportRequest
from syncd.orders import leave
from syncd.settings import Settings
from syncd.settings.convert import ConvertSettings
from syncd.settings.vendors import ContentsquareSettings
from syncd.sources.convert.redaction import hashed
from syncd.state import Noted, open_state
from tests.home import Home
from tests.sandbox_fixture import running

START = datetime(2026, 3, 1, tzinfo=UTC)
LINE = b'{"_id": "a"}\n'


def request(id: str, job: str = "activities", format: str = "") -> ExportRequest:
    return ExportRequest("mail", id, "activities", format, START, START + timedelta(days=1), job, asked_at=START)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    section = ContentsquareSettings(kind="contentsquare", client_id="c", client_secret="s")
    state = open_state(tmp_path / "state.sqlite")
    state.requests.note(Noted(request("activities-1"), "waiting", "job-17"))
    state.requests.note(Noted(request("activities-2", format="csv"), "waiting", "job-18"))
    state.requests.note(Noted(request("raw-1", "raw_data"), "waiting", "job-19"))
    state.close()
    return Settings(data_dir=tmp_path, retry_for=timedelta(seconds=1), sources={"mail": section})


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def handed(settings: Settings, run: str, name: str) -> bytes:
    return (settings.data_dir / "handed" / "mail" / run / name).read_bytes()


@pytest.mark.parametrize("run", ["activities-1", "mail/activities-1", "job-17"])
def test_the_run_is_named_as_syncd_or_the_vendor_names_it(settings: Settings, tmp_path: Path, run: str) -> None:
    order = order_for(settings, "mail", run, [written(tmp_path / "a.jsonl", LINE)])
    assert (order.run, order.details) == ("activities-1", {"files": ["a.jsonl"], "format": "jsonl"})
    assert handed(settings, "activities-1", "a.jsonl") == LINE


def test_a_job_names_the_only_run_that_waits_for_it(settings: Settings, tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", b"_id\na\n")
    assert order_for(settings, "mail", "raw_data", [file]).run == "raw-1"
    with pytest.raises(ConfigError) as caught:
        order_for(settings, "mail", "activities", [file])
    assert "activities-1, activities-2" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (LINE, "jsonl"),
        (b"\xef\xbb\xbf \n" + LINE, "jsonl"),
        (gzip.compress(LINE), "jsonl"),
        (b"_id,x\n1,2\n", "csv"),
        (gzip.compress(b'"_id"\n1\n'), "csv"),
        (b"", "csv"),
    ],
    ids=["jsonl", "bom", "jsonl.gz", "csv", "csv.gz", "empty"],
)
def test_the_form_is_told_by_how_a_file_begins(settings: Settings, tmp_path: Path, content: bytes, form: str) -> None:
    file = written(tmp_path / "export", content)
    assert order_for(settings, "mail", "activities-1", [file]).details["format"] == form
    assert order_for(settings, "mail", "activities-2", [file]).details["format"] == "csv", "what was asked for"


def test_the_members_of_a_zip_are_parts_and_names_are_told_apart(settings: Settings, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../x/a.csv", "one\n1\n")
        archive.writestr("y/a.csv", "two\n2\n")
        archive.writestr("y/", "")
    order = order_for(settings, "mail", "raw-1", [written(tmp_path / "export.zip", packed.getvalue())])
    assert order.details["files"] == ["a.csv", "2-a.csv"]
    assert handed(settings, "raw-1", "2-a.csv") == b"two\n2\n"


def test_what_was_handed_over_and_not_taken_up_yet_is_not_overwritten(settings: Settings, tmp_path: Path) -> None:
    leave(settings, [order_for(settings, "mail", "activities-1", [written(tmp_path / "a.jsonl", LINE)])])
    with pytest.raises(ConfigError, match="handed over already"):
        order_for(settings, "mail", "activities-1", [written(tmp_path / "b.jsonl", LINE)])
    assert handed(settings, "activities-1", "a.jsonl") == LINE
    assert order_for(settings, "mail", "activities-2", [written(tmp_path / "b.jsonl", LINE)]).run == "activities-2"


def test_a_repeat_takes_the_place_of_what_was_half_copied(settings: Settings, tmp_path: Path) -> None:
    torn = tmp_path / "handed" / "mail" / "activities-1"
    torn.mkdir(parents=True)
    (torn / "a.jsonl").write_bytes(b"torn")
    order_for(settings, "mail", "activities-1", [written(tmp_path / "a.jsonl", LINE)])
    assert handed(settings, "activities-1", "a.jsonl") == LINE


@pytest.mark.parametrize(
    ("run", "given", "said"),
    [
        ("nobody", b"", "waits for files"),
        ("activities-1", None, "No such file"),
        ("activities-1", b"<!DOCTYPE html><p>signed out", "is a page"),
        ("activities-1", b"\x1f\x8bnonsense", "damaged"),
        ("activities-1", b'[{"_id": "a"}]', "one JSON list"),
    ],
)
def test_what_is_none_is_refused(settings: Settings, tmp_path: Path, run: str, given: bytes | None, said: str) -> None:
    file = str(tmp_path / "missing") if given is None else written(tmp_path / "file", given)
    with pytest.raises(ConfigError) as caught:
        order_for(settings, "mail", run, [file])
    assert said in str(caught.value)
    assert caught.value.hint


class Answers(BaseHTTPRequestHandler):
    """The file at /a.jsonl; a cut one; a dead link; one that wants no stranger's credentials."""

    def do_GET(self) -> None:
        assert "authorization" not in self.headers
        path = self.path.partition("?")[0]
        code = {"/dead.jsonl": 403, "/down.jsonl": 503}.get(path, 200)
        self.send_response(code)
        content: bytes = getattr(self.server, "content", LINE)
        self.send_header("Content-Length", str(len(content) + (path == "/cut.jsonl")))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def serving(content: bytes = LINE) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.content = content  # type: ignore[attr-defined]  # for its handlers
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_link_is_followed_and_never_shown(settings: Settings) -> None:
    with serving() as url:
        order = order_for(settings, "mail", "activities-1", [f"{url}/a.jsonl?sig=SECRET"])
        assert handed(settings, "activities-1", "link") == LINE
        assert "SECRET" not in repr(order)
        assert "a.jsonl" not in repr(order), "the path of a link is as secret as its query"
        for path, answer in (("dead", SyncdError), ("down", TryAgain), ("cut", TryAgain)):
            with pytest.raises(answer) as caught:
                order_for(settings, "mail", "activities-1", [f"{url}/{path}.jsonl?sig=SECRET"])
            assert "SECRET" not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(ConfigError, match="plain http"):
        order_for(settings, "mail", "activities-1", ["http://example.com/a?sig=SECRET"])


def test_a_run_that_is_set_aside_takes_files_from_a_person_too(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=30, parts=1, format="jsonl", scope="sessions", broken_lines=20) as vendor:
        home = Home(tmp_path / "home", {"acme": vendor.settings()})
        home.once(expect=1)
        ((run, _),) = [(row["run"], row["state"]) for row in home.json("runs")]
        (landed,) = (home.data_dir / "landing" / "acme").rglob("*.part")
        mended = written(tmp_path / landed.name, b'{"session_number": 7}\n{"session_number": 8}\n')
        ended = home.run("ingest", "acme", run, mended)
        assert ended.returncode == 0, ended.stderr
        assert home.query("SELECT run, rows, rejected FROM _syncd.runs") == [(run, 2, 0)]
        assert home.json("runs")[0]["state"] == "loaded"
        home.once()


def test_the_command_tells_an_unknown_source_and_run(tmp_path: Path) -> None:
    home = Home(tmp_path, {"acme": {"kind": "contentsquare", "client_id": "c", "client_secret": "s"}})
    for arguments in (("nobody", "1", "x"), ("acme", "1", "x")):
        ended = home.run("ingest", *arguments)
        assert ended.returncode == 2, ended.stderr
        assert "→" in ended.stderr


@pytest.fixture
def convert(tmp_path: Path) -> Settings:
    """Whose source cleans what is handed over."""
    section = ConvertSettings(kind="convert", application_id="a", secret="s", account_id=1)
    state = open_state(tmp_path / "state.sqlite")
    one = ExportRequest("ab", "raw-1", "raw_data", "", START, START, "raw_data-1", asked_at=START)
    state.requests.note(Noted(one, "waiting", "job-17"))
    state.close()
    return Settings(
        data_dir=tmp_path / "home", state_dir=tmp_path, retry_for=timedelta(seconds=1), sources={"ab": section}
    )


CSV = b'visitor,email,sdk_secret,note,note\nv1,Ann@Example.com,hush,"ask ann@example.com, soon",\nv2,,,x,y\n'
LINES = b'{"visitor":"v1","email":"Ann@Example.com","sdk_secret":"hush","note":"ask ann@example.com, soon"}\n\n'


def packed(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        CSV,
        gzip.compress(CSV),
        packed("a.csv", CSV),
        LINES,
        gzip.compress(LINES),
        packed("a.jsonl", LINES),
        b"[%s]" % LINES,
    ],
    ids=["csv", "csv.gz", "csv.zip", "jsonl", "jsonl.gz", "jsonl.zip", "list"],
)
@pytest.mark.parametrize("how", ["file", "link"])
def test_what_a_source_cleans_is_clean_before_it_is_anywhere(
    convert: Settings, tmp_path: Path, content: bytes, how: str
) -> None:
    if how == "file":
        order = order_for(convert, "ab", "job-17", [written(tmp_path / "export", content)])
    else:
        with serving(content) as url:
            order = order_for(convert, "ab", "job-17", [url])
    assert order.details["format"] == "jsonl"
    (file,) = [path for path in convert.data_dir.rglob("*") if path.is_file()]
    kept = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    assert kept[0]["email"] == hashed("ann@example.com") in kept[0]["note"]
    assert b"hush" not in file.read_bytes() and b"@" not in file.read_bytes()
    assert len(kept) == 1 or kept[1] == {"visitor": "v2", "email": "", "note": "x", "note_2": "y"}


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"<html>no</html>", "a page"), (gzip.compress(CSV)[:-9], "damaged"), (b'{"a":1}\nno\n', "begins like JSON")],
)
def test_what_a_source_can_not_clean_is_refused_and_nothing_is_kept(
    convert: Settings, tmp_path: Path, content: bytes, told: str
) -> None:
    with pytest.raises(SyncdError, match=told):
        order_for(convert, "ab", "raw-1", [written(tmp_path / "export", content)])
    assert not [path for path in convert.data_dir.rglob("*") if path.is_file() and b"@" in path.read_bytes()]
