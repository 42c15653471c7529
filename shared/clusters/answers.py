"""What an API server's answers mean: one table from HTTP status to error.

| answer                                                        | meaning                          |
|---------------------------------------------------------------|----------------------------------|
| 400, 403, 404, 405, 406, 413, 415, 422                        | ClusterRefused                   |
| 500 "failed to create typed patch object"                     | ClusterRefused                   |
| 403 in a namespace that is being terminated                   | ClusterUnavailable               |
| 408, 410, any other 5xx                                       | ClusterUnavailable               |
| 401 (credentials are rotated), 429, 502, 503                  | ClusterAway                      |
| anything that is not JSON (a proxy speaks)                    | ClusterAway, 404 included        |
| 409                                                           | the driver's to judge            |

An object is absent only if a 404 says so in a Status that names it: a load balancer's 404 must not pass for the
end of a workload.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from shared.errors import ClusterAway, ClusterError, ClusterRefused, ClusterUnavailable
from shared.models.deployment import OwnedField

_PERMANENT = frozenset({400, 403, 404, 405, 406, 413, 415, 422})
_AWAY = frozenset({401, 429, 502, 503})  # of every request, and not of one object alone
_TYPED_PATCH = "failed to create typed patch object"
_OBJECT = re.compile(r"Invalid value: \{.*\}: ", re.DOTALL)
_QUOTED = re.compile(r'"([^"]*)"')
_MESSAGE_LIMIT = 1000  # characters of the server's own words


@dataclass(frozen=True)
class ApiAnswer:
    """An API server's answer to one request; `body` is its JSON object, or None when it has none."""

    request: str
    status: int
    body: dict[str, Any] | None

    @classmethod
    def of(cls, request: str, status: int, content: bytes) -> "ApiAnswer":
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        return cls(request, status, body if isinstance(body, dict) else None)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300 and self.body is not None

    @property
    def message(self) -> str:
        """The server's own words, bounded: the causes with their fields when it lists them, else its message.

        A rejected object is left out, because the server quotes all of it, environment included.
        """
        causes = [_OBJECT.sub("", f"{c.get('field', '')}: {c.get('message', '')}".lstrip(": ")) for c in self.causes]
        text = "; ".join(causes) or str((self.body or {}).get("message") or "no explanation")
        return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"

    @property
    def details(self) -> dict[str, Any]:
        found = (self.body or {}).get("details")
        return found if isinstance(found, dict) else {}

    @property
    def causes(self) -> list[dict[str, Any]]:
        return list(self.details.get("causes") or ())

    def has_cause(self, reason: str) -> bool:
        return any(cause.get("reason") == reason for cause in self.causes)

    def is_absent(self, resource: str, name: str) -> bool:
        """Whether this says that the object does not exist, rather than its kind or its path."""
        return self.status == 404 and (self.details.get("kind"), self.details.get("name")) == (resource, name)

    @property
    def field_conflicts(self) -> list[OwnedField]:
        """The fields that others own, where a 409 is for them; an apply by force would take them."""
        if self.status != 409:
            return []
        return [
            OwnedField(str(cause.get("field", "")), _manager(str(cause.get("message", ""))))
            for cause in self.causes
            if cause.get("reason") == "FieldManagerConflict"
        ]


def _manager(message: str) -> str:
    """The field manager in a message such as `conflict with "kubectl-edit" using apps/v1`."""
    quoted = _QUOTED.search(message)
    return quoted[1] if quoted else message


def error_of(cluster: str, answer: ApiAnswer) -> ClusterError:
    """The error for an answer that is not a success; see the table above."""
    if answer.body is None:
        return ClusterAway(f"cluster {cluster}: {answer.request}: {answer.status} without a JSON object")
    text = f"cluster {cluster}: {answer.request}: {answer.status} {answer.message}"
    if answer.has_cause("NamespaceTerminating"):
        return ClusterUnavailable(text)
    if answer.status in _AWAY:
        return ClusterAway(text)
    typed_patch = answer.status == 500 and _TYPED_PATCH in str(answer.body.get("message"))
    return ClusterRefused(text) if answer.status in _PERMANENT or typed_patch else ClusterUnavailable(text)
