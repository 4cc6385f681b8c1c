"""A part is whole at its name or not there; what has come is not fetched again; a changed far side is."""

from __future__ import annotations

import contextlib
import gc
import re
import socket
import subprocess
import sys
import threading
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from syncd.errors import Advanced, BadRun, LinkExpired, TryAgain
from syncd.fetch import land
from syncd.fetch.http import Client, http_body, is_safe, pause_asked
from syncd.model import Body, Part
from tests.convert_vendor import running

WHOLE = bytes(range(256)) * 4096  # 1 MiB, every 256 bytes alike
SECRET = "X-Amz-Signature=f00ba4"


@dataclass
class Store:
    """A server of one file on a real socket. `answer` gets the request's headers and says what is sent."""

    answer: Callable[[dict[str, str]], bytes]
    requests: list[dict[str, str]] = field(default_factory=list)

    def __enter__(self) -> Store:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        self.client = httpx.Client(timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/p0.gz?{SECRET}"

    @property
    def part(self) -> Part:
        return Part("p0", self.url)

    def open(self, part: Part, start: int, tag: str) -> AbstractContextManager[Body]:
        return http_body(self.client, part.url, start, tag)

    def land(self, path: Path, **what: Callable[[int], None]) -> bytes:
        found = land(self.open, self.part, path, **what)
        whole = path.read_bytes()
        assert (found.path, found.bytes) == (str(path), len(whole))
        assert sorted(path.parent.iterdir()) == [path]
        return whole

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                head = b""
                while b"\r\n\r\n" not in head and (block := peer.recv(65536)):
                    head += block
                lines = head.decode().split("\r\n")[1:]
                headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines if line)}
                self.requests.append(headers)
                with contextlib.suppress(OSError):  # the other side may have had enough
                    peer.sendall(self.answer(headers))


def head(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *headers, "", ""]).encode()


def stored(whole: bytes, asked: dict[str, str], *, tag: str = '"v1"', cut: int | None = None) -> bytes:
    """What an object store answers; `cut`: bytes sent before the connection ends."""
    start = int(re.sub(r"\D", "", asked.get("range", "0")))
    marks = [f"ETag: {tag}"] if tag else []
    if start and asked.get("if-range") == tag:
        marks.append(f"Content-Range: bytes {start}-{len(whole) - 1}/{len(whole)}")
        return head("206 Partial Content", f"Content-Length: {len(whole) - start}", *marks) + whole[start:][:cut]
    return head("200 OK", f"Content-Length: {len(whole)}", *marks) + whole[:cut]


def cut_first(cut: int, then: Callable[[dict[str, str]], bytes] | None = None) -> Callable[..., bytes]:
    """The first answer ends after `cut` bytes; `then` gives the others."""
    answers: Iterator[Callable[[dict[str, str]], bytes]] = iter([partial(stored, WHOLE, cut=cut)])
    return lambda asked: next(answers, then or partial(stored, WHOLE))(asked)


def test_a_part_comes_whole_for_our_eyes_only(tmp_path: Path) -> None:
    path = tmp_path / "acme" / "7-1" / "p0.part"
    sizes: list[int] = []
    with Store(partial(stored, WHOLE)) as store:
        assert store.land(path, progress=sizes.append) == WHOLE
        assert "authorization" not in store.requests[0]
        assert store.requests[0]["accept-encoding"] == "identity"
    assert sum(sizes) == len(WHOLE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == path.parent.parent.stat().st_mode & 0o777 == 0o700


def test_a_client_that_nobody_can_reach_lets_go_of_its_connections() -> None:
    with running() as vendor:
        transport = httpx.HTTPTransport()
        httpx.Client(transport=transport).get(vendor.url)  # its socket is older than the client, and finalized first
        ring: list[Any] = [Client("acme", transport=transport)]
        ring.append(ring)
        del transport, ring
        gc.collect()  # a socket that is open still would warn


def test_a_part_that_is_here_is_not_asked_for(tmp_path: Path) -> None:
    with Store(partial(stored, WHOLE)) as store:
        store.land(tmp_path / "p0")
        store.land(tmp_path / "p0")
        assert len(store.requests) == 1


def test_an_empty_part_is_a_part(tmp_path: Path) -> None:
    with Store(partial(stored, b"")) as store:
        assert store.land(tmp_path / "p0") == b""


def test_a_cut_part_goes_on_where_it_ended(tmp_path: Path) -> None:
    with Store(cut_first(300_000)) as store:
        with pytest.raises(Advanced, match=r"127\.0\.0\.1"):
            store.land(tmp_path / "p0")
        had = (tmp_path / "p0.partial").stat().st_size
        assert had == 300_000
        assert store.land(tmp_path / "p0") == WHOLE
        assert store.requests[1]["range"] == f"bytes={had}-"
        assert store.requests[1]["if-range"] == '"v1"'


def test_a_cut_without_headway_is_no_headway(tmp_path: Path) -> None:
    with Store(cut_first(100)) as store:
        with pytest.raises(TryAgain) as caught:
            store.land(tmp_path / "p0")
        assert not isinstance(caught.value, Advanced)


def test_it_also_goes_on_after_a_kill(tmp_path: Path) -> None:
    def stall(asked: dict[str, str]) -> bytes:
        if "range" in asked:
            return stored(WHOLE, asked)
        killed.wait(20)
        return b""

    class Stalls(Store):
        def _serve(self) -> None:
            peer, _ = self.listener.accept()
            peer.recv(65536)
            peer.sendall(stored(WHOLE, {}, cut=700_000))
            with peer:
                killed.wait(20)
            super()._serve()

    script = """
import sys, httpx
from pathlib import Path
from syncd.fetch import land
from syncd.fetch.http import Client, http_body
from syncd.model import Part
client = httpx.Client(timeout=30)
seen = 0
def progress(size):
    global seen
    seen += size
    if seen == 700_000:
        print("there", flush=True)
def open(part, start, tag):
    return http_body(client, part.url, start, tag)
land(open, Part("p0", sys.argv[1]), Path(sys.argv[2]), progress=progress)
"""
    killed = threading.Event()
    with Stalls(stall) as store:
        child = subprocess.Popen(
            [sys.executable, "-c", script, store.url, str(tmp_path / "p0")], stdout=subprocess.PIPE
        )
        assert child.stdout is not None and child.stdout.readline() == b"there\n"
        child.kill()
        child.communicate()
        killed.set()
        had = (tmp_path / "p0.partial").stat().st_size
        assert store.land(tmp_path / "p0") == WHOLE
        assert had == 700_000 and store.requests[0]["range"] == f"bytes={had}-"


def test_a_stop_between_the_last_byte_and_the_rename_costs_no_request(tmp_path: Path) -> None:
    with Store(partial(stored, WHOLE)) as store:
        store.land(tmp_path / "p0")
        (tmp_path / "p0").rename(tmp_path / "p0.partial")
        (tmp_path / "p0.partial.json").write_text(f'{{"tag":"\\"v1\\"","total":{len(WHOLE)}}}')
        assert store.land(tmp_path / "p0") == WHOLE
        assert len(store.requests) == 1


def test_a_stop_before_the_first_byte_of_an_empty_part_is_a_repeat(tmp_path: Path) -> None:
    (tmp_path / "p0.partial.json").write_text('{"tag":"\\"v1\\"","total":0}')
    with Store(partial(stored, b"")) as store:
        assert store.land(tmp_path / "p0") == b""


@pytest.mark.parametrize("note", ["", "{", "[]", '{"tag":7,"total":1}', '{"tag":"\\"v1\\""}', None])
def test_a_torn_note_costs_a_repeat_and_never_a_byte(tmp_path: Path, note: str | None) -> None:
    with Store(cut_first(300_000)) as store:
        with pytest.raises(TryAgain):
            store.land(tmp_path / "p0")
        if note is None:
            (tmp_path / "p0.partial.json").unlink()
        else:
            (tmp_path / "p0.partial.json").write_text(note)
        assert store.land(tmp_path / "p0") == WHOLE
        assert "range" not in store.requests[1]


OTHER = bytes(reversed(WHOLE))


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(partial(stored, OTHER, tag='"v2"'), id="If-Range is honoured"),
        pytest.param(partial(stored, OTHER, tag=""), id="no validator any more"),
        pytest.param(
            lambda asked: (
                head("206 Partial", f"Content-Range: bytes 300000-{len(OTHER) - 1}/{len(OTHER)}", 'ETag: "v2"')
                + OTHER[300000:]
                if "range" in asked
                else stored(OTHER, asked, tag='"v2"')
            ),
            id="If-Range is ignored",
        ),
        pytest.param(
            lambda asked: head("416 Range Not Satisfiable") if "range" in asked else stored(OTHER, asked), id="416"
        ),
        pytest.param(
            lambda asked: (
                head("206 Partial", f"Content-Range: bytes 0-{len(OTHER) - 1}/{len(OTHER)}", 'ETag: "v1"') + OTHER
                if "range" in asked
                else stored(OTHER, asked)
            ),
            id="another range than asked for",
        ),
    ],
)
def test_a_changed_far_side_is_fetched_again_whole(tmp_path: Path, changed: Callable[..., bytes]) -> None:
    with Store(cut_first(300_000, changed)) as store:
        with pytest.raises(TryAgain):
            store.land(tmp_path / "p0")
        assert store.land(tmp_path / "p0") == OTHER


def test_a_far_side_that_grew_under_the_same_tag_is_fetched_again_whole(tmp_path: Path) -> None:
    with Store(cut_first(300_000, partial(stored, WHOLE + b"more"))) as store:
        for _ in range(2):
            with pytest.raises(TryAgain):
                store.land(tmp_path / "p0")
        assert store.land(tmp_path / "p0") == WHOLE + b"more"


def test_ranges_may_be_ignored(tmp_path: Path) -> None:
    with Store(cut_first(300_000, lambda asked: stored(WHOLE, {}))) as store:
        with pytest.raises(TryAgain):
            store.land(tmp_path / "p0")
        assert store.land(tmp_path / "p0") == WHOLE


def test_without_a_strong_validator_nothing_is_resumed(tmp_path: Path) -> None:
    with Store(partial(stored, WHOLE, tag='W/"v1"', cut=300_000)) as store:
        for _ in range(2):
            with pytest.raises(TryAgain):
                store.land(tmp_path / "p0")
        assert "range" not in store.requests[1]


def test_a_chunked_body_must_end_cleanly(tmp_path: Path) -> None:
    chunk = f"{len(WHOLE):x}\r\n".encode() + WHOLE + b"\r\n"
    answers = iter([chunk[:-9000], chunk, chunk + b"0\r\n\r\n"])
    with Store(lambda asked: head("200 OK", "Transfer-Encoding: chunked") + next(answers)) as store:
        for _ in range(2):
            with pytest.raises(TryAgain):
                store.land(tmp_path / "p0")
        assert store.land(tmp_path / "p0") == WHOLE


def test_the_bytes_are_kept_as_they_travelled(tmp_path: Path) -> None:
    with Store(lambda asked: head("200 OK", "Content-Encoding: gzip", "Content-Length: 9") + b"no gzip !") as store:
        assert store.land(tmp_path / "p0") == b"no gzip !"


def test_a_length_that_is_too_long_is_a_cut(tmp_path: Path) -> None:
    with Store(lambda asked: head("200 OK", "Content-Length: 12") + b"only ten b") as store:
        with pytest.raises(TryAgain):
            store.land(tmp_path / "p0")
        assert not (tmp_path / "p0").exists()


def test_whoever_looks_on_may_stop_it(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(size: int) -> None:
        raise Stopped

    with Store(partial(stored, WHOLE)) as store:
        with pytest.raises(Stopped):
            store.land(tmp_path / "p0", progress=stop)
        assert store.land(tmp_path / "p0") == WHOLE
        assert "range" in store.requests[1]


def test_a_full_disk_says_which(tmp_path: Path) -> None:
    (tmp_path / "p0.partial.torn").symlink_to("/dev/full")  # where the first byte of all is written
    with Store(partial(stored, WHOLE)) as store:
        with pytest.raises(TryAgain, match="disk is full") as caught:
            store.land(tmp_path / "p0")
        assert str(tmp_path) in caught.value.hint
        (tmp_path / "p0.partial.torn").unlink()
        assert store.land(tmp_path / "p0") == WHOLE


@dataclass
class Zeros:
    """A body of so many bytes, a MB at a time."""

    start: int
    total: int
    tag: str = '"v1"'

    def __enter__(self) -> Zeros:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self.start, self.total, 1 << 20):
            yield bytes(1 << 20)


def test_a_part_of_any_size_costs_the_memory_of_a_block(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        land(lambda *_: Zeros(0, 300 << 20), Part("p0", ""), tmp_path / "p0")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_to_go_on_reads_nothing_of_what_is_here(tmp_path: Path) -> None:
    """So a link that breaks often, or a start in the middle of many parts, costs only what comes."""

    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    rest, path = Zeros(300 << 20, 301 << 20), tmp_path / "p0"
    with Path(f"{path}.partial").open("wb") as file:
        file.truncate(rest.start)
    Path(f"{path}.partial.json").write_bytes(orjson.dumps({"tag": rest.tag, "total": rest.total}))
    before = bytes_read()
    for _ in ("the rest comes", "all is here"):
        assert land(lambda *_: rest, Part("p0", ""), path).bytes == path.stat().st_size == rest.total
    assert bytes_read() - before < 1 << 20


@pytest.mark.parametrize(
    ("answer", "reaction", "after"),
    [
        (head("403 Forbidden", "Content-Length: 0"), LinkExpired, None),
        (head("401 Unauthorized", "Content-Length: 0"), LinkExpired, None),
        (head("404 Not Found", "Content-Length: 0"), LinkExpired, None),
        (head("410 Gone", "Content-Length: 0"), LinkExpired, None),
        (head("400 Bad Request") + b"<Code>ExpiredToken</Code>", LinkExpired, None),
        (head("400 Bad Request") + b"no", TryAgain, None),
        (head("403 Forbidden") + b"concurrency limit exceeded", TryAgain, None),
        (head("429 Too Many Requests", "Retry-After: 7", "Content-Length: 0"), TryAgain, 7.0),
        (head("503 Slow Down", "Retry-After: 999999999", "Content-Length: 0"), TryAgain, 3600.0),
        (head("500 Oh", "Content-Length: 0"), TryAgain, None),
        (head("204 No Content"), TryAgain, None),
        (head("302 Found", "Location: http://example.com/?X-Amz-Signature=f00ba4"), BadRun, None),
        (head("302 Found", "Location: http://[bad"), BadRun, None),
        (head("302 Found", "Location: /p0.gz?X-Amz-Signature=f00ba4"), TryAgain, None),
        (b"rubbish?X-Amz-Signature=f00ba4\r\n\r\n", TryAgain, None),
        (b"", TryAgain, None),
    ],
)
def test_each_refusal_has_its_reaction_and_shows_no_signature(
    answer: bytes, reaction: type[Exception], after: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with Store(lambda asked: answer) as store, pytest.raises(reaction) as caught, store.open(store.part, 0, ""):
        pass
    assert type(caught.value) is reaction
    assert getattr(caught.value, "after", None) == after
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "f00ba4" not in shown


def test_a_redirect_is_followed_to_a_safe_place_with_the_range(tmp_path: Path) -> None:
    def elsewhere(asked: dict[str, str]) -> bytes:
        return head("307 Temporary", f"Location: {there.url}", "Content-Length: 0")

    with Store(cut_first(300_000)) as there, Store(elsewhere) as store:
        with pytest.raises(TryAgain):
            store.land(tmp_path / "p0")
        assert store.land(tmp_path / "p0") == WHOLE
        assert there.requests[1]["range"] == "bytes=300000-"


def test_nobody_there_is_told_without_the_link() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/p0?{SECRET}"
    with httpx.Client() as client, pytest.raises(TryAgain, match=r"127\.0\.0\.1") as caught, http_body(client, url):
        pass
    assert "f00ba4" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://files.example/p", True),
        ("http://files.example/p", False),
        ("http://127.0.0.1:8600/p", True),
        ("http://[::1]/p", True),
        ("http://localhost/p", True),
        ("http://localhost.example/p", False),
        ("ftp://127.0.0.1/p", False),
        ("/p", False),
    ],
)
def test_plain_http_stays_at_home(url: str, safe: bool) -> None:
    assert is_safe(httpx.URL(url)) is safe


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, 3600.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:27:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_a_pause_is_a_number_or_a_date_of_their_clock(headers: dict[str, str], seconds: float | None) -> None:
    assert pause_asked(headers) == seconds
