"""Which object a pod belongs to, by the pod's name alone. Pure.

Kubernetes' controllers name the pods of an object NAME so:

| kind        | name of a pod                  | example              |
|-------------|--------------------------------|----------------------|
| Deployment  | NAME-<template hash>-<random>  | web-7d9f6c8b5-x2x7k  |
| StatefulSet | NAME-<ordinal>                 | db-0                 |
| Job         | NAME-<random>                  | train-r3-x2x7k       |
| indexed Job | NAME-<index>-<random>          | train-r3-0-x2x7k     |

The hash and the 5 random characters are of an alphabet without vowels (apimachinery, util/rand). What comes before the
random characters is cut to 58 characters (apiserver, storage/names). So a name of 63 characters tells the beginning of
a long object's name alone.

A pod may fit several objects: `train-r3-x2x7k` is a pod of the Job `train-r3`, or of a Deployment `train`. The objects
that are there decide, and of those the one with the longest name.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
_GENERATED = re.compile(rf"(?P<base>.{{1,57}})-{_RANDOM}{{5}}")
_HASHED = re.compile(rf"(?P<name>.+)-{_RANDOM}{{1,10}}")
_NUMBERED = re.compile(r"(?P<name>.+)-(?:0|[1-9][0-9]*)")
_BASE = 58  # characters before the random ones; the last is a dash where nothing was cut
_CUT = 63


@dataclass(frozen=True)
class Owner:
    """An object that a pod may belong to. name: all of it, or its beginning where `begins`."""

    kind: str
    name: str
    begins: bool = False

    def fits(self, kind: str, name: str) -> bool:
        """Whether an object is meant."""
        return kind == self.kind and (name.startswith(self.name) if self.begins else name == self.name)


def owners_of(pod: str) -> tuple[Owner, ...]:
    """The objects that a pod of this name may belong to; none for a name that no controller gives."""
    return tuple(dict.fromkeys(_owners(pod)))


def owner_among(pod: str, objects: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """The object, as (kind, name), that a pod belongs to; None when it belongs to none of these."""
    owners = owners_of(pod)
    fitting = [one for one in objects if any(owner.fits(*one) for owner in owners)]
    return max(fitting, key=lambda one: (len(one[1]), one), default=None)


def _owners(pod: str) -> Iterator[Owner]:
    if (numbered := _NUMBERED.fullmatch(pod)) is not None:
        yield Owner("StatefulSet", numbered["name"])
    if (generated := _GENERATED.fullmatch(pod)) is not None:
        base = generated["base"]
        yield Owner("Job", base)
        if (indexed := _NUMBERED.fullmatch(base)) is not None:
            yield Owner("Job", indexed["name"])
        if (hashed := _HASHED.fullmatch(base)) is not None:
            yield Owner("Deployment", hashed["name"])
    if len(pod) == _CUT and re.fullmatch(f"{_RANDOM}{{5}}", pod[_BASE:]):
        yield from _cut_owners(pod[:_BASE])


def _cut_owners(base: str) -> Iterator[Owner]:
    """Of a pod whose name was cut: the name of the object, or the hash or the index behind it, may be cut too."""
    for kind in ("Deployment", "Job"):
        yield Owner(kind, base, begins=True)
    name, _, rest = base.rpartition("-")
    if name and re.fullmatch(f"{_RANDOM}*", rest):  # within the hash
        yield Owner("Deployment", name)
    if (indexed := re.fullmatch(r"(?P<name>.+)-[0-9]+-", base)) is not None:  # the index is never cut, the name is
        yield Owner("Job", indexed["name"], begins=True)
