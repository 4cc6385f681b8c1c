"""What deploy/docker puts into an image. docs/deploying-image.md says what was built and run."""

from __future__ import annotations

import json  # noqa: TID251  # a Containerfile and an SBOM as any reader takes them
import os
import re
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from syncd.settings import Settings

FOLDER = Path(__file__).parent.parent / "deploy/docker"
CONTAINERFILE = (FOLDER / "Containerfile").read_text()


@pytest.mark.parametrize(("answer", "code"), [(200, 0), (503, 1), (None, 1)])
def test_the_health_check_is_healthz(answer: int | None, code: int) -> None:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer or 0 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    found = re.search(r"HEALTHCHECK .*\\\n +CMD (\[.*\])", CONTAINERFILE)
    assert found
    _python, *arguments = json.loads(found[1])
    _host, _, port = Settings().http.listen.rpartition(":")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        command = [word.replace(f":{port}/", f":{server.server_port}/") for word in arguments]
        assert command != arguments, "it asks at the port where syncd listens by itself"
        if answer is None:
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        ended = subprocess.run([sys.executable, *command], capture_output=True, timeout=60, check=False)
        if answer is not None:
            server.shutdown()
    assert ended.returncode == code


def test_it_is_nobody_and_listens_to_a_stop() -> None:
    words = dict(line.split(" ", 1) for line in CONTAINERFILE.splitlines() if re.match(r"[A-Z]+ ", line))
    assert words["FROM"] == "scratch"
    assert words["USER"] == "10001:10001"
    assert words["STOPSIGNAL"] == "SIGTERM"
    assert words["EXPOSE"] == Settings().http.listen.rpartition(":")[2]
    assert words["VOLUME"] == str(Settings().data_dir)
    assert json.loads(words["ENTRYPOINT"]) == ["syncd"]


def test_each_package_of_debian_is_pinned() -> None:
    lines = (FOLDER / "packages.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9.+-]+=\S+", line) for line in lines[1:])
    assert any(line.startswith("python3.11=") for line in lines)


def test_the_scripts_are_whole() -> None:
    for script in ("build", "library", "furnish"):
        assert (FOLDER / script).stat().st_mode & 0o111
        subprocess.run(["bash", "-n", str(FOLDER / script)], check=True)


def test_the_sbom_names_every_package(tmp_path: Path) -> None:
    library = tmp_path / "usr/local/lib/python3.11/dist-packages"
    for name, version in (("syncd", "0.1.0"), ("Some_Thing", "2.0+local")):
        (library / f"{name}-{version}.dist-info").mkdir(parents=True)
        (library / f"{name}-{version}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(
        "Package: zlib1g\nArchitecture: amd64\nVersion: 1:1.2\nDescription: two\n lines\n\n"
        "Package: tzdata\nArchitecture: all\nVersion: 2026f\n\n"
    )
    command = [sys.executable, str(FOLDER / "sbom.py"), str(tmp_path)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["metadata"]["component"]["version"] == "0.1.0"
    assert [each["purl"] for each in found["components"]] == [
        "pkg:deb/debian/tzdata@2026f?arch=all&distro=bookworm",
        "pkg:deb/debian/zlib1g@1%3A1.2?arch=amd64&distro=bookworm",
        "pkg:pypi/some-thing@2.0%2Blocal",
    ]


RUNS = """
import pkgutil, sys
sys.path.insert(0, sys.argv.pop(1))
import syncd
for one in pkgutil.walk_packages(syncd.__path__, "syncd."):
    if not one.name.startswith(("syncd.otel.", "syncd.migrations")) and not one.name.endswith("__main__"):
        __import__(one.name)
from syncd.parse.compiled import library
assert library()[0], library()[1]
from syncd.cli import main
main()
"""


def test_what_the_recipe_leaves_of_the_packages_runs(tmp_path: Path) -> None:
    """The image but for Debian's half, whose packages a mirror may have replaced."""
    library = tmp_path / "library"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run([FOLDER / "library", library], env=os.environ | {"PYTHON": python}, check=True, timeout=300)
    files = [path for path in library.rglob("*") if path.is_file()]
    assert all(path.stat().st_nlink == 1 for path in files), "a file is uv's own: what is cut out here is cut out there"
    assert sum(path.stat().st_size for path in files) < 240e6, "docs/deploying-image.md tells how large it is"
    command = [sys.executable, "-I", "-S", "-c", RUNS, str(library), "demo"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "rows by day" in shown.stdout


def test_each_line_of_the_docs_that_builds_names_a_script_that_is_there() -> None:
    page = (FOLDER.parent.parent / "docs/deploying-image.md").read_text()
    named = {shlex.split(line)[0] for line in page.splitlines() if line.startswith("deploy/docker/")}
    assert named == {"deploy/docker/build"}
