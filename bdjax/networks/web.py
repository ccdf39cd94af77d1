"""Networks behind HTTP, asked in JSON: inputs as nested lists, an answer an input."""

import json
import logging
import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bdjax.networks.base import Given, Opened, UnreachedError, Web, no_features
from bdjax.types import UserError

_AGAIN = (429, 502, 503, 504)


def recognises(source: Any) -> bool:
    """An address."""
    return isinstance(source, str) and source.startswith(("http://", "https://"))


def open(source: Any, given: Given) -> Opened:
    """Opens it, without asking anything; see :func:`bdjax.networks.open_network`."""
    address, web = urlsplit(source), given.web
    given.check_alone("an endpoint")
    if address.username or address.password:
        raise UserError(
            "the address holds a password; leave it out, and name an environment "
            "variable with the header's value (auth_env)"
        )
    name = f"{address.scheme}://{address.netloc}{address.path}"
    endpoint = _Endpoint(source, name, web)
    notes: tuple[str, ...] = ()
    if web.auth_env and address.scheme == "http" and address.hostname not in _HERE:
        notes = (f"{web.auth_header} goes over http, for anybody on the way to read",)
    why = "an endpoint only answers"
    return Opened(
        name=name,
        kind="HTTP endpoint",
        ask=endpoint,
        find_features=lambda shape, layer: no_features(why),
        notes=notes,
    )


_NOBODY = ("NewConnectionError", "NameResolutionError", "Connection refused")
_HERE = ("localhost", "127.0.0.1", "::1")


class _Endpoint:
    """Asks it, some inputs a request, over one connection."""

    def __init__(self, address: str, name: str, web: Web):
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        self.address, self.name, self.web = address, name, web
        self.secret = _secret(web)
        self.next = 0.0
        retry = Retry(
            web.retries,
            status_forcelist=_AGAIN,
            allowed_methods=None,  # asking twice changes nothing
            backoff_factor=0.3,
            raise_on_status=False,
        )
        # Retries end in one line, and are no news before.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        self.session = requests.Session()
        self.session.mount("http://", HTTPAdapter(max_retries=retry))
        self.session.mount("https://", HTTPAdapter(max_retries=retry))
        self.session.auth = lambda request: request  # else ~/.netrc would be sent

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Inputs ``[N, ...]`` to answers ``[N, C]``, or labels ``[N]``."""
        parts = [self._answers(part) for part in self._batches(x)]
        if len({part.shape[1:] for part in parts}) > 1:
            widths = sorted({str(part.shape[1:]) for part in parts})
            raise self._error(f"answers of {' and '.join(widths)} numbers an input")
        return np.concatenate(parts)

    def _batches(self, x: np.ndarray) -> Iterator[np.ndarray]:
        for i in range(0, len(x), self.web.batch):
            yield x[i : i + self.web.batch]

    def _answers(self, x: np.ndarray) -> np.ndarray:
        """What it answers to a batch, checked."""
        body: Any = np.asarray(x, np.float64).round(8).tolist()
        for field in reversed(_fields(self.web.request)):
            body = {field: body}
        found = self._json(self._post(body))
        for field in _fields(self.web.answer):
            if not isinstance(found, dict) or field not in found:
                there = sorted(found) if isinstance(found, dict) else "no field"
                raise self._error(
                    f"JSON without {self.web.answer!r}: it has {there}; say which "
                    "field the answers are in"
                )
            found = found[field]
        return self._checked(found, len(x))

    def _post(self, body: Any) -> Any:
        """One request, at its time; the server's answer if it is one."""
        import requests

        if self.web.rate > 0:
            time.sleep(max(0.0, self.next - time.monotonic()))
            self.next = time.monotonic() + 1 / self.web.rate
        headers = {self.web.auth_header: self.secret} if self.secret else {}
        try:
            # No redirects: whoever they lead to would get the header.
            response = self.session.post(
                self.address,
                json=body,
                headers=headers,
                timeout=self.web.timeout,
                allow_redirects=False,
            )
        except requests.exceptions.RequestException as error:
            nobody = any(kind in str(error) for kind in _NOBODY)
            timed_out = isinstance(error, requests.exceptions.Timeout)
            kind = UnreachedError if nobody or timed_out else UserError
            raise kind(self._unreached(error)) from None  # it may hold the header
        status = response.status_code
        if status in (401, 403):
            fix = (
                f"check the value of {self.web.auth_env}"
                if self.secret
                else "name an environment variable with the header's value (auth_env)"
            )
            raise self._error(f"{status}: it does not let us in; {fix}")
        if 300 <= status < 400:
            raise self._error(f"{status}, a redirect; give where it leads to")
        if status in _AGAIN:
            raise self._error(
                f"{status} after {self.web.retries} retries: too much, or out of "
                "order; ask it more slowly (rate) or later"
            )
        if status >= 400:
            raise self._error(
                f"{status}: {self._excerpt(response.text)!r}; check the address, the "
                f"field {self.web.request!r} and the shape of the inputs"
            )
        return response

    def _json(self, response: Any) -> Any:
        """The body of an answer."""
        try:
            return json.loads(response.content)
        except ValueError:
            pass
        text = response.text.lstrip()
        html = "html" in response.headers.get("Content-Type", "") or text[:1] == "<"
        what = "HTML" if html else f"no JSON ({self._excerpt(text)!r})"
        raise self._error(f"{what}; give the address that answers in JSON")

    def _checked(self, found: Any, count: int) -> np.ndarray:
        """Answers as an array, if they are what they should be."""
        if not isinstance(found, list) or len(found) != count:
            what = f"{len(found)} answers" if isinstance(found, list) else "no list"
            raise self._error(f"{what} to {count} inputs in {self.web.answer!r}")
        try:
            answers = np.asarray(found)
        except ValueError:
            raise self._error("lists of several lengths; it must be [N, C]") from None
        if answers.dtype.kind not in "iuf":
            raise self._error(
                f"{self._excerpt(str(found[0]))!r} an input; numbers are needed, or "
                "whole numbers for labels"
            )
        if answers.dtype.kind == "f":
            if not np.isfinite(answers).all():
                raise self._error("NaN or infinite numbers; mend the network")
            answers = answers.astype(np.float32)
        elif answers.ndim == 2 and answers.shape[1] > 1:
            answers = answers.astype(np.float32)  # scores that happen to be whole
        else:
            answers = answers.reshape(count, -1)
            answers = answers[:, 0] if answers.shape[1] == 1 else answers
        if answers.ndim == 1 and answers.dtype.kind == "f":
            answers = answers[:, None]
        if answers.ndim > 2:
            raise self._error(f"answers of shape {answers.shape}; it must be [N, C]")
        return answers

    def _excerpt(self, text: str) -> str:
        """Its beginning in one line, without the secret or a part of it."""
        for part in (self.secret, *self.secret.split()):  # "Bearer", and the token
            text = text.replace(part, "...") if part else text
        return " ".join(text.split())[:80]

    def _unreached(self, error: Exception) -> str:
        """Why there was no answer; nothing of the request itself."""
        import requests

        if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error):
            return (
                f"{self.name} did not answer within {self.web.timeout:g} s, "
                f"{self.web.retries + 1} times; allow more (timeout) or ask less at "
                "once (batch)"
            )
        if isinstance(error, requests.exceptions.InvalidHeader):
            return (
                f"the value of {self.web.auth_env} is no value of a header; write it "
                "without line breaks"
            )
        if isinstance(error, requests.exceptions.SSLError):
            return f"{self.name} has no certificate that is trusted; check the address"
        return f"{self.name} cannot be reached; check the address, and that it runs"

    def _error(self, what: str) -> UserError:
        return UserError(f"{self.name} answered {what}")


def _fields(dotted: str) -> list[str]:
    return [field for field in dotted.split(".") if field]


def _secret(web: Web) -> str:
    """The header's value, from the environment."""
    if not web.auth_env:
        return ""
    if not (value := os.environ.get(web.auth_env, "").strip()):
        raise UserError(
            f"the environment variable {web.auth_env} is not set; it must hold the "
            f"value of the header {web.auth_header}"
        )
    return value
