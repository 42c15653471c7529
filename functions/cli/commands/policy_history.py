"""`sentinel policy history`: what each version of a policy made different."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic import JsonValue

from functions.cli.connection import Platform, open_store
from functions.cli.errors import CommandFailed
from functions.cli.options import Format
from functions.cli.views.printing import moment, print_data, print_table
from shared.store.policies import PolicyVersion

_NOTHING = "nothing"
_EMPTY: tuple[JsonValue, ...] = (None, [], {})


def show(platform: Platform, name: str, form: Format) -> None:
    """Prints every version, oldest first; programs get the documents too. Raises CommandFailed."""
    with open_store(platform) as store, store.begin() as work:
        versions = work.policies.history(name)
    if not versions:
        raise CommandFailed(f"there is no policy {name[:80]}: see `sentinel policy list`")
    told = [[], *(list(differences(a.document, b.document)) for a, b in pairwise(versions))]
    if form is not Format.TABLE:
        print_data([_view(one, became) for one, became in zip(versions, told, strict=True)], form)
        return
    rows = [
        (str(one.version), moment(one.changed_at) or "", one.author, one.change, "; ".join(became))
        for one, became in zip(versions, told, strict=True)
    ]
    print_table(("VERSION", "WHEN", "AUTHOR", "CHANGE", "WHAT"), rows)


def differences(before: JsonValue, after: JsonValue, path: str = "") -> Iterator[str]:
    """What became different between two documents, field by field: "rules.0.gpus: 16 -> 8"."""
    match before, after:
        case dict(), dict():
            for key in dict.fromkeys([*before, *after]):
                yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
        case list(), list() if any(isinstance(one, dict) for one in (*before, *after)):
            for index in range(max(len(before), len(after))):
                old, new = (values[index] if index < len(values) else None for values in (before, after))
                yield from differences(old, new, f"{path}.{index}")
        case _ if before != after:
            yield f"{path}: {_words(before)} -> {_words(after)}"


def _words(value: Any) -> str:
    """A value in a few words; of an object what it is and says, without what it leaves open."""
    match value:
        case _ if value in _EMPTY:
            return _NOTHING
        case bool():
            return str(value).lower()
        case dict():
            return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items() if inner not in _EMPTY)
        case list():
            return ", ".join(map(_words, value))
        case _:
            return str(value)


def _view(version: PolicyVersion, became: list[str]) -> dict[str, JsonValue]:
    return {
        "version": version.version,
        "changedAt": moment(version.changed_at),
        "author": version.author,
        "change": version.change.value,
        "differences": list(became),
        "document": version.document,
    }
