"""The API's answers: who may ask, which endpoint, in which troubled mood."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from threading import RLock
from typing import Any

import orjson

from syncd.sandbox.contentsquare import endpoints
from syncd.sandbox.contentsquare.account import Account, Run
from syncd.sandbox.contentsquare.endpoints import Refused
from syncd.sandbox.contentsquare.files import Files
from syncd.sandbox.contentsquare.sessions import PROJECT
from syncd.sandbox.contentsquare.traffic import Traffic
from syncd.sandbox.contentsquare.trouble import Offer, Trouble
from syncd.sandbox.server import CUT, Answer, Call, Cut, Download

_CONCURRENT = {"success": False, "errorMessage": "Too many concurrent requests.", "errorCode": "CONCURRENCY_LIMIT"}
_DOWN = {"success": False, "errorMessage": "Service unavailable.", "errorCode": "UNAVAILABLE"}


def json_answer(status: int, told: Any, **headers: str) -> Answer:
    """An answer in JSON."""
    return Answer(status, orjson.dumps(told), {"Content-Type": "application/json; charset=utf-8"} | headers)


def refusal(status: int, message: str, code: str) -> Answer:
    """The vendor's error body."""
    return json_answer(status, {"success": False, "errorMessage": message, "errorCode": code})


class Api:
    """The vendor behind the server. Any thread."""

    def __init__(self, offer: Offer, trouble: Trouble) -> None:
        self.url = ""  # known once it listens
        self.client_id = f"sandbox-{offer.seed}"
        self.client_secret = sha256(f"secret {offer.seed}".encode()).hexdigest()[:40]
        self.account = Account(offer, trouble, datetime.now(UTC))
        self.files = Files(offer.seed)
        self.traffic = Traffic()
        self._lock = RLock()
        self._tokens: dict[str, float] = {}  # token -> when it ends, by the monotonic clock
        self._counts: Counter[str] = Counter()
        self._under_way = 0  # API calls

    # ---- the server's side

    def begin(self, call: Call) -> None:
        self.traffic.begin(_kind(call))

    def end(self, call: Call, status: int) -> None:
        self.traffic.end(_kind(call), call, status)

    def answer(self, call: Call) -> Answer | Download | Cut:
        try:
            match _kind(call):
                case "sandbox":
                    return self._pull_lever(call)
                case "token":
                    return self._token(call)
                case "file":
                    return self.files.answer(call, self.account.by_name, self.account.trouble, datetime.now(UTC))
            return self._api(call)
        except Refused as refused:
            return refusal(refused.status, str(refused), refused.code)

    # ---- tokens

    def _token(self, call: Call) -> Answer:
        trouble = self.account.trouble
        asked = endpoints.json_body(call)
        if (asked.get("client_id"), asked.get("client_secret")) != (self.client_id, self.client_secret):
            return _wrong_secret(trouble)
        if call.path.endswith("/me"):
            permissions = {"projects": [{"id": PROJECT}]}
            return json_answer(200, {"scopes": "data-export metrics", "permissions": permissions})
        self._counts["token"] += 1
        if self._counts["token"] <= trouble.token_fails:
            return json_answer(500, {"success": False, "errorMessage": "Internal error.", "errorCode": "INTERNAL"})
        if asked.get("grant_type") != "client_credentials":
            return json_answer(400, {"error": "unsupported_grant_type", "error_description": "client_credentials only"})
        if asked.get("scope") != "data-export":
            return json_answer(400, {"error": "invalid_scope", "error_description": "this sandbox has data-export"})
        if asked.get("project_id", None if self.account.offer.account_level else PROJECT) != PROJECT:
            return refusal(403, "The credentials have no access to this project.", "FORBIDDEN_PROJECT")
        return json_answer(200, self._new_token(trouble))

    def _new_token(self, trouble: Trouble) -> dict[str, Any]:
        token = f"e30.{sha256(f'{self.client_secret} {time.monotonic_ns()}'.encode()).hexdigest()}.sandbox"
        self._tokens[token] = time.monotonic() + trouble.token_life
        told: dict[str, Any] = {"access_token": token, "token_type": "bearer", "scope": "data-export"}
        if not trouble.no_expires_in:
            told["expires_in"] = int(trouble.token_life)
        if trouble.endpoint != "absent":
            told["endpoint"] = self.url + ("/" if trouble.endpoint == "slash" else "")
        return told

    # ---- the nine endpoints

    def _api(self, call: Call) -> Answer | Cut:
        trouble = self.account.trouble
        with self._lock:  # as they come: of calls that came together the first are answered
            self._under_way += 1
            is_one_too_many = self._under_way > trouble.concurrency_limit
        try:
            time.sleep(trouble.latency)
            return self._refuse(trouble) if is_one_too_many else self._answered(call, trouble)
        finally:
            with self._lock:
                self._under_way -= 1

    def _answered(self, call: Call, trouble: Trouble) -> Answer | Cut:
        with self._lock:
            bad = self._bad_token(call, trouble) or self._mood(trouble)
            if bad:
                return bad
            self.account.advance(datetime.now(UTC))
            status, payload = endpoints.answer(call, self.account, self.files, self.url, self._counts)
            if call.method == "POST" and trouble.post_cut:
                return CUT
            return json_answer(status, {"payload": payload, "success": True})

    def _bad_token(self, call: Call, trouble: Trouble) -> Answer | None:
        self._counts["api"] += 1
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return refusal(401, "Auth token is missing or invalid.", "JWT_INVALID")
        if trouble.jwt_expired_every and self._counts["api"] % trouble.jwt_expired_every == 0:
            self._tokens[token] = 0
        if self._tokens[token] <= time.monotonic():
            return refusal(401, "Auth token is expired.", "JWT_EXPIRED")
        return None

    def _mood(self, trouble: Trouble) -> Answer | Cut | None:
        if not trouble.refuse_every or self._counts["api"] % trouble.refuse_every:
            return None
        if trouble.refuse_times and self._counts["refused"] >= trouble.refuse_times:
            return None
        self._counts["refused"] += 1
        return self._refuse(trouble)

    def _refuse(self, trouble: Trouble) -> Answer | Cut:
        if trouble.refuse_with == "cut":
            return CUT
        headers = {}
        if trouble.retry_after >= 0:
            headers["Retry-After"] = f"{trouble.retry_after:.0f}"
            if trouble.retry_after_date:
                at = datetime.now(UTC) + timedelta(seconds=trouble.retry_after)
                headers["Retry-After"] = format_datetime(at, usegmt=True)
        told = _DOWN if trouble.refuse_with in ("503", "500", "200") else _CONCURRENT
        return json_answer(int(trouble.refuse_with), told, **headers)

    # ---- levers

    def _pull_lever(self, call: Call) -> Answer:
        match call.method, call.path.split("/")[2:]:
            case "GET", ["truth"]:
                return json_answer(200, {"vendor": "contentsquare", "runs": self.truth()})
            case "GET", ["log"]:
                return json_answer(200, self.traffic.told())
            case "GET", ["settings"]:
                return json_answer(200, self.settings())
        asked = endpoints.json_body(call)
        try:
            match call.method, call.path.split("/")[2:]:
                case "POST", ["runs"]:
                    run = self.add_run(**asked)
                    return json_answer(201, {"run": run.name, "job": run.job.id, "job_run": run.id})
                case "POST", ["trouble"]:
                    self.set_trouble(asked)
                    return json_answer(200, vars(self.account.trouble))
                case "POST", ["expire"]:
                    self.expire_run(asked["run"]) if "run" in asked else self.expire_links()
                    return json_answer(200, {})
        except (TypeError, ValueError) as error:
            raise Refused(400, str(error), "SANDBOX") from error
        raise Refused(404, "levers: GET truth, log, settings; POST runs, trouble, expire", "SANDBOX")

    def settings(self) -> dict[str, Any]:
        """The configuration section that reads this vendor."""
        told: dict[str, Any] = {
            "kind": "contentsquare",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "token_url": f"{self.url}/v1/oauth/token",
        }
        return told | ({"project_id": PROJECT} if self.account.offer.account_level else {})

    def truth(self) -> list[dict[str, Any]]:
        """What each run holds. Counts on first sight, so it takes time where there is much."""
        now = datetime.now(UTC)
        with self._lock:
            self.account.advance(now)
        return self.account.truth(now)  # without the lock: the daemon goes on polling meanwhile

    def set_trouble(self, changed: Mapping[str, Any]) -> None:
        """Turn some knobs; `{"reset": true}` first puts all back. TypeError, ValueError: no such knob or choice."""
        with self._lock:
            knobs = dict(changed)
            now = Trouble() if knobs.pop("reset", False) else self.account.trouble
            self.account.trouble = replace(now, **knobs)
            self.files.forget_faults()
            self._counts.clear()

    def add_run(
        self,
        job: int | None = None,
        restate: str = "",
        period: str = "",
        rows: int | None = None,
        parts: int | None = None,
        state: str = "SUCCESS",
        ready_in: float = 0.0,
    ) -> Run:
        """Add a run of `job` (default: the first) for the period after its last, for the one that begins at `period`
        (ISO 8601), or for that of the run named `restate`. It is finished now, or RUNNING for `ready_in` seconds."""
        with self._lock:
            return endpoints.add_run(
                self.account, datetime.now(UTC),
                job=job, restate=restate, period=period, rows=rows, parts=parts, state=state, ready_in=ready_in,
            )  # fmt: skip

    def expire_links(self) -> None:
        """No link given out so far works any more."""
        self.files.expire_links()

    def expire_run(self, name: str) -> None:
        """Delete a run's files. ValueError: no such run."""
        with self._lock:
            endpoints.run_named(self.account, name).gone = True

    def prepare(self) -> None:
        """Make every part now."""
        for run in self.account.runs:
            for part in run.parts:
                self.files.make(run, part, self.account.trouble)

    def close(self) -> None:
        """Remove what was made."""
        self.files.close()


def _kind(call: Call) -> str:
    if call.path.startswith("/_sandbox/"):
        return "sandbox"
    if call.path.startswith("/v1/oauth/"):
        return "token"
    return "file" if call.path.startswith("/exports-bucket/") else "api"


def _wrong_secret(trouble: Trouble) -> Answer:
    if trouble.wrong_secret == "400":  # noqa: S105  # a status
        return json_answer(400, {"error": "invalid_client", "error_description": "Client authentication failed"})
    if trouble.wrong_secret == "500":  # noqa: S105  # a status
        return json_answer(500, {"success": False, "errorMessage": "Internal server error", "errorCode": "INTERNAL"})
    return refusal(401, "Invalid client credentials.", "INVALID_CREDENTIALS")
