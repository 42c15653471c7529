"""The query parameters of a request, checked: the options of lists, watches and writes."""

from collections.abc import Mapping
from dataclasses import dataclass

from knative.local.kubernetes import selectors
from knative.local.kubernetes.errors import ApiError, Cause, bad_request, invalid
from knative.local.kubernetes.lister import ListOptions
from knative.local.kubernetes.routes import Resource
from knative.local.kubernetes.writes import APPLY, WriteOptions

_LEVELS = ("", "Ignore", "Strict", "Warn")
_LONGEST_MANAGER = 128


@dataclass(frozen=True)
class WatchOptions:
    """`since` is None for a watch that starts with the present objects; `timeout` is in seconds."""

    since: int | None
    timeout: float
    bookmarks: bool
    initial_events: bool


def list_options(resource: Resource, query: Mapping[str, str]) -> ListOptions:
    fields = query.get("fieldSelector", "")
    if resource.name:
        fields = f"{fields},metadata.name={resource.name}"
    return ListOptions(
        resource.namespace,
        selectors.parse_labels(query.get("labelSelector", "")),
        selectors.parse_fields(fields, resource.kind),
        _number(query, "limit"),
        query.get("continue", ""),
    )


def watch_options(query: Mapping[str, str]) -> WatchOptions:
    initial = _flag(query, "sendInitialEvents")
    if initial and query.get("resourceVersionMatch") != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise invalid("ListOptions", "meta.k8s.io", "", [Cause.forbidden("resourceVersionMatch", why)])
    version = query.get("resourceVersion", "")
    if version and not _is_number(version):
        why = f'resourceVersion: Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
        raise ApiError(500, "", why)
    since = None if initial or version in ("", "0") else int(version)
    timeout = float(_number(query, "timeoutSeconds") or 1800)
    return WatchOptions(since, timeout, _flag(query, "allowWatchBookmarks"), initial)


def is_watch(query: Mapping[str, str]) -> bool:
    return _flag(query, "watch")


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name) in ("true", "1")


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name) or "0"
    if not _is_number(text.removeprefix("-")):
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return max(0, int(text))


def _is_number(text: str) -> bool:
    """Whether these are digits as the real server reads them: `isdigit` alone takes those of other scripts too."""
    return text.isascii() and text.isdigit()


def write_options(query: Mapping[str, str], agent: str, options: str, content_type: str = "") -> WriteOptions:
    """How a write is asked for; `options` is the kind of the options, for messages. Raises 422."""
    causes = []
    manager = query.get("fieldManager", "")
    if len(manager.encode()) > _LONGEST_MANAGER:
        causes.append(Cause("FieldValueTooLong", "Too long: may not be more than 128 bytes", "fieldManager"))
    if content_type == APPLY:
        if not manager:
            causes.append(Cause.required("fieldManager", "is required for apply patch"))
    elif "force" in query:
        causes.append(Cause.forbidden("force", "may not be specified for non-apply patch"))
    level = query.get("fieldValidation", "")
    if level not in _LEVELS:
        causes.append(Cause.unsupported("fieldValidation", level, _LEVELS))
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        causes.append(Cause.unsupported("dryRun", [dry_run], ("All",)))
    if causes:
        raise invalid(options, "meta.k8s.io", "", causes)
    manager = manager or agent.partition("/")[0][:_LONGEST_MANAGER] or "unknown"
    return WriteOptions(manager, dry_run == "All", _flag(query, "force"), level or "Warn")
