"""Landing zones as they are in the world: OpenSSH's sftp, FTP, S3 and GCS servers, each on a free port, each ended."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

SSHD = "/usr/sbin/sshd"
SSHD_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
Subsystem sftp internal-sftp
LogLevel ERROR
"""


@dataclass
class Place:
    """A running zone: the keys of its section, what the vendor's box needs, and where files really lie."""

    settings: dict[str, Any]
    box: dict[str, Any]
    folder: Path | None = None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until_open(port: int, process: subprocess.Popen[Any] | None = None) -> None:
    """Wait for a server to listen."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert process is None or process.poll() is None, process.communicate()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on {port}")


@contextmanager
def openssh(folder: Path) -> Iterator[Place]:
    """OpenSSH with its own sftp: this user, one key, which the vendor has saved under a name."""
    folder.mkdir(parents=True)
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    port = free_port()
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it insists
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        until_open(port, process)
        public = (folder / "host_key.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
        (folder / "in").mkdir()
        user = os.environ.get("USER") or subprocess.check_output(["id", "-un"], text=True).strip()
        settings = {
            "zone": f"sftp://{user}@127.0.0.1:{port}{folder}/in",
            "zone_key_file": str(folder / "key"),
            "zone_known_hosts": str(folder / "known_hosts"),
            "deliver": {"saved_key": "ours"},
        }
        yield Place(settings, {"no_zone": True, "saved_key_file": str(folder / "key")}, folder / "in")
    finally:
        process.terminate()
        process.communicate()


FTP_SERVER = """
import sys
import threading
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
port, folder, certificate, rights = sys.argv[1:]
handler = FTPHandler
if certificate:
    from pyftpdlib.handlers import TLS_FTPHandler as handler
    handler.certfile = certificate
    handler.tls_control_required = handler.tls_data_required = True
if not rights.endswith("T"):
    handler.proto_cmds = {verb: does for verb, does in handler.proto_cmds.items() if verb not in ("MLSD", "MLST")}
handler.authorizer = DummyAuthorizer()
handler.authorizer.add_user("exports", "hush-ftp", folder, perm=rights)
FTPServer(("127.0.0.1", int(port)), handler).serve_forever()
"""


@contextmanager
def ftp(folder: Path, *, tls: bool = False, rights: str = "elradfmwMT") -> Iterator[Place]:
    """pyftpdlib, plain or with TLS that it insists on; a process of its own, for it warns of what Python drops.

    `rights` as it spells them; without the last one, T, it lists no exact times either, like vsftpd.
    """
    (folder / "in").mkdir(parents=True)
    port = free_port()
    kind, certificate = ("ftps", str(certified(folder))) if tls else ("ftp", "")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FTP_SERVER, str(port), str(folder), certificate, rights],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_open(port, process)
        settings = {"zone": f"{kind}://exports@localhost:{port}/in", "zone_password": "hush-ftp"}
        settings |= {"zone_ca_file": certificate} if tls else {}
        yield Place(settings, {"no_zone": True, "ftp_tls": tls}, folder / "in")
    finally:
        process.terminate()
        process.wait()


def certified(folder: Path) -> Path:
    """A certificate for localhost and its key, in one file."""
    made = folder / "made.pem"
    key = folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text(key.read_text() + made.read_text())
    return both


@contextmanager
def s3() -> Iterator[Place]:
    """moto: takes any credentials."""
    import boto3
    from moto.server import ThreadedMotoServer

    bucket = f"landing-{uuid4().hex[:8]}"  # moto's memory is the process's: servers share it
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "id", "aws_secret_access_key": "hush", "region_name": "us-west-2"}
        store = boto3.client("s3", endpoint_url=url, **keys)
        store.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        store.close()
        settings = {
            "zone": f"s3://{bucket}/cordial/in",
            "zone_access_key_id": "AKIA-hush-id",
            "zone_secret_access_key": "hush-s3",
            "zone_region": "us-west-2",
            "zone_endpoint_url": url,
        }
        yield Place(settings, {"no_zone": True, "s3_endpoint": url})
    finally:
        server.stop()


@contextmanager
def gcs(folder: Path) -> Iterator[Place]:
    """gcp-storage-emulator, in memory."""
    port = free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port)]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    process = subprocess.Popen(
        [*command, "--in-memory", "--default-bucket", "landing"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_open(port, process)
        url = f"http://127.0.0.1:{port}"
        settings = {"zone": "gs://landing/cordial/in", "zone_endpoint_url": url}
        yield Place(settings, {"no_zone": True, "gcs_endpoint": url})
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def cutting(port: int, after: int) -> Iterator[int]:
    """A port that leads to another one; of the first connection that brings so many bytes, it brings no more."""
    cut = threading.Event()

    def carry(source: socket.socket, target: socket.socket, *, counts: bool) -> None:
        carried = 0
        with suppress(OSError):
            while block := source.recv(1 << 16):
                carried += len(block)
                if counts and carried > after and not cut.is_set():
                    cut.set()
                    break
                target.sendall(block)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError), ExitStack() as open:
            while True:
                near = open.enter_context(listener.accept()[0])
                far = open.enter_context(socket.create_connection(("127.0.0.1", port)))
                threading.Thread(target=carry, args=(near, far), kwargs={"counts": False}, daemon=True).start()
                threading.Thread(target=carry, args=(far, near), kwargs={"counts": True}, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    assert cut.is_set(), "nothing was cut"
