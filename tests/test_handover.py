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

import pytest

from syncd.errors import ConfigError, SyncdError, TryAgain
from syncd.handover import order_for
from syncd.model import ExportRequest
from syncd.settings import Settings
from syncd.settings.vendors import ContentsquareSettings
from syncd.state import Noted, open_state
from tests.home import Home

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
        self.send_header("Content-Length", str(len(LINE) + (path == "/cut.jsonl")))
        self.end_headers()
        self.wfile.write(LINE)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def serving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
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


def test_the_command_tells_an_unknown_source_and_run(tmp_path: Path) -> None:
    home = Home(tmp_path, {"acme": {"kind": "contentsquare", "client_id": "c", "client_secret": "s"}})
    for arguments in (("nobody", "1", "x"), ("acme", "1", "x")):
        ended = home.run("ingest", *arguments)
        assert ended.returncode == 2, ended.stderr
        assert "→" in ended.stderr
