"""What never reaches our disk: secrets are left out, people are hashed. Done to each answer before it is landed.

The default list stands here and on docs/vendors/convert.md; a test plants one of each. A hash is SHA-256 of the
trimmed text in small letters, so one person stays one person, and can be joined with a list that is hashed alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from syncd.sources.convert.answers import Digits, dumps, loads

LEFT_OUT = (  # keys that contain one of these, at any depth, whatever their case and whatever stands between words
    *("secret", "password", "passwd", "passphrase", "token", "credential", "authorization"),
    *("apikey", "accesskey", "privatekey", "authkey", "licensekey", "sdkkey", "trackingsnippet", "mfabackup"),
)
LEFT_OUT_WORDS = ("ip", "ips")  # whole words of a key: blocked_ips, visitorIp
OF_INTEGRATIONS = ("key", "auth", "login")  # the same, inside `integrations_settings` and `integrations`
HASHED = ("email", "firstname", "lastname", "createdby", "username", "phone", "collaborator")
HASHED_WHOLE = ("user", "userid", "author", "authorid")
MAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
IS_HASH = re.compile(r"sha256:[0-9a-f]{64}")
DEEPEST = 64


def redacted(value: Any, *, integration: bool = False, person: bool = False, depth: int = 0) -> Any:
    """The same without secrets, with people hashed."""
    if depth > DEEPEST:
        return None  # nobody nests so deep, and nobody would see what hides there
    if isinstance(value, Mapping):
        kept = {}
        for key, inner in value.items():
            name = plain_name(str(key))
            if is_secret(str(key), integration=integration):
                continue
            kept[without_mail(str(key))] = redacted(
                inner,
                integration=integration or name.startswith("integration"),
                person=person or is_person(name),
                depth=depth + 1,
            )
        return _without_named(kept)
    if isinstance(value, list):
        return [redacted(one, integration=integration, person=person, depth=depth + 1) for one in value]
    if isinstance(value, str) and not isinstance(value, Digits):
        return hashed(value) if person and value else _text(value, depth, integration=integration)
    if person and value is not None and not isinstance(value, bool):
        return hashed(str(value))
    return value


def plain_name(key: str) -> str:
    """A key in small letters and digits only."""
    return re.sub(r"[\W_]", "", key).lower()


def is_secret(key: str, *, integration: bool = False) -> bool:
    """Whether what stands under this key is left out."""
    name = plain_name(key)
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", key)
    return (
        any(word.lower() in LEFT_OUT_WORDS for word in words)
        or any(word in name for word in LEFT_OUT)
        or (integration and any(word in name for word in OF_INTEGRATIONS))
    )


def is_person(name: str) -> bool:
    """Whether what is under a key of this name is about a person."""
    return name in HASHED_WHOLE or any(word in name for word in HASHED)


def hashed(text: str) -> str:
    """SHA-256 in hex; what is one already stays."""
    if IS_HASH.fullmatch(text):
        return text
    return "sha256:" + sha256(text.strip().lower().encode("utf-8", "backslashreplace")).hexdigest()


def without_mail(text: str) -> str:
    """The same text with each e-mail address in it hashed."""
    return MAIL.sub(lambda found: hashed(found[0]), text) if "@" in text else text


def _text(text: str, depth: int, *, integration: bool) -> str:
    """Text, which may be JSON in itself."""
    if text[:1] in ("{", "["):
        try:
            inner = loads(text.encode())
        except (ValueError, RecursionError):
            return without_mail(text)
        kept = redacted(inner, integration=integration, depth=depth + 1)
        return text if kept == inner else dumps(kept).decode()
    return without_mail(text)


def _without_named(entry: dict[str, Any]) -> dict[str, Any]:
    """An object that names a secret or a person in one key and holds it in others: a change, a setting."""
    named = next(
        (entry[key] for key in ("field", "key", "name", "property", "setting") if isinstance(entry.get(key), str)), ""
    )
    name = plain_name(named)
    held = [key for key in ("value", "old", "new", "old_value", "new_value", "from", "to") if key in entry]
    if not name or len(named) > 64 or not held:
        return entry
    if is_secret(named):
        return {key: value for key, value in entry.items() if key not in held}
    if is_person(name):
        return entry | {key: redacted(entry[key], person=True) for key in held}
    return entry
