"""What goes wrong with a landing zone, told by what to do next: refused, not vouched for, or in trouble for now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ftplib import error_perm
from pathlib import Path
from typing import TYPE_CHECKING

from syncd.errors import ConfigError, SyncdError, TryAgain
from syncd.fetch.http import plain

if TYPE_CHECKING:
    from syncd.sources.cordial.zone import Zone

ANSWER_S = 30
CHECK = "check zone and the zone_ keys of this source: they must list, read and make folders there"
# where errors of a far side come from; any other is a bug of ours
LIBRARIES = {
    *("asyncssh", "sshfs", "fsspec", "ftplib", "ssl", "socket", "asyncio", "aiohttp", "google", "gcsfs"),
    *("botocore", "aiobotocore", "s3fs", "azure", "adlfs", "urllib3", "requests"),
}
REFUSALS = {  # by name: their libraries are not always here
    *("PermissionDenied", "NoCredentialsError", "PartialCredentialsError", "ClientAuthenticationError"),
    *("RefreshError", "DefaultCredentialsError", "KeyImportError", "KeyEncryptionError", "HostKeyNotVerifiable"),
    *("ParamValidationError", "SSLCertVerificationError", "SFTPPermissionDenied"),
}


@dataclass(frozen=True)
class Line:
    """A server's SSH key that nobody has vouched for, as known_hosts would have it."""

    text: str
    fingerprint: str


@contextmanager
def far_side(zone: Zone) -> Iterator[None]:
    """What goes wrong with the place, told by what to do next."""
    try:
        yield
    except (SyncdError, GeneratorExit):
        raise
    except Exception as error:
        if not isinstance(error, (OSError, EOFError)) and type(error).__module__.partition(".")[0] not in LIBRARIES:
            raise
        raise told(zone, error) from None  # its context may hold a secret


def told(zone: Zone, error: Exception) -> SyncdError:
    """The error of a library as ours."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    said = plain(clean(zone, str(error))) or type(error).__name__
    if "HostKeyNotVerifiable" in kinds:
        return unknown_host(zone)
    if is_refusal(error):
        return ConfigError(f"the zone {where(zone)} refuses us: {said}", hint=CHECK)
    return TryAgain(f"the zone {where(zone)} is in trouble: {said}", hint=CHECK)


def is_refusal(error: Exception) -> bool:
    """Whether the place knows us and says no."""
    if isinstance(error, error_perm):  # 550 is also what a missing file gets: those have been told apart by then
        return str(error).startswith(("530", "532", "550", "553"))
    known = any(kind.__name__ in REFUSALS for kind in type(error).__mro__)
    return known or isinstance(error, PermissionError) or _status(error) in (401, 403)


def unknown_host(zone: Zone) -> SyncdError:
    """A server that nobody has vouched for: the line that would."""
    import asyncssh
    from fsspec.asyn import get_loop, sync

    async def key() -> Line | None:
        found = await asyncssh.get_server_host_key(zone.host, zone.port, config=None)
        if found is None:
            return None
        name = zone.host if zone.port == 22 else f"[{zone.host}]:{zone.port}"
        text = " ".join(found.export_public_key("openssh").decode().split()[:2])
        return Line(f"{name} {text}", found.get_fingerprint())

    path = Path(zone.known_hosts).expanduser()
    if path.is_file() and any(asyncssh.match_known_hosts(str(path), zone.host, "", zone.port)[:1][0]):
        return ConfigError(
            f"the zone {where(zone)} shows another SSH host key than the one in {zone.known_hosts}",
            hint="find out why it has changed before anything is sent there: somebody may sit in between",
        )
    try:
        line = sync(get_loop(), key, timeout=ANSWER_S)
    except (OSError, asyncssh.Error) as error:
        return TryAgain(f"the zone {where(zone)} is in trouble: {plain(str(error))}", hint=CHECK)
    shown = f"{line.text}  (its fingerprint is {line.fingerprint})" if line else "no line: the server shows no key"
    return ConfigError(
        f"the zone {where(zone)} shows an SSH host key that {zone.known_hosts} does not have",
        hint=f"if it is the server's own, add this line to {zone.known_hosts}: {shown}",
    )


def where(zone: Zone) -> str:
    """The zone for a message."""
    return f"{zone.kind}://{zone.bucket or zone.host}{'' if zone.bucket or zone.port == 0 else f':{zone.port}'}"


def clean(zone: Zone, text: str) -> str:
    """`text` without any of the zone's secrets."""
    for secret in zone.secrets:
        text = text.replace(secret.get_secret_value(), "***")
    return text


def _status(error: Exception) -> int | None:
    """The HTTP status that an error of a bucket carries."""
    for name in ("status_code", "status", "code"):
        if isinstance(found := getattr(error, name, None), int):
            return found
    return None
