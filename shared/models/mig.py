"""What share of a GPU a MIG slice is.

A slice takes compute slices and memory slices of its GPU, and nobody else can use what is left over. Its share is the
larger of the two: `3g.20gb` of an A100-40GB takes 3 of 7 compute slices and 4 of 8 memory slices, which is one half. A
variant, such as `1g.5gb.me` with media engines, has the share of its profile.

The table follows "Supported MIG Profiles" in NVIDIA's MIG User Guide and, for the newest GPUs, the default
configuration of NVIDIA's mig-parted.
"""

import csv
import functools
from collections.abc import Mapping
from fractions import Fraction
from importlib.resources import files

from shared.errors import UnknownMigProfile


def share_of(gpu: str, profile: str) -> Fraction:
    """The share of a whole GPU's SKU that a slice of this profile takes, above 0 and at most 1.

    Raises UnknownMigProfile, naming the profiles that the GPU has.
    """
    known = profiles_of(gpu)
    if profile not in known:
        has = f"it has {', '.join(known)}" if known else "no profile of it is known"
        raise UnknownMigProfile(f"GPU {gpu} has no MIG profile {profile}; {has}")
    return known[profile]


def profiles_of(gpu: str) -> Mapping[str, Fraction]:
    """The share by profile, the smallest compute first; empty for a GPU that MIG cannot divide."""
    return _by_gpu().get(gpu, {})


@functools.cache
def _by_gpu() -> dict[str, dict[str, Fraction]]:
    table: dict[str, dict[str, Fraction]] = {}
    with files("shared.models").joinpath("mig_profiles.csv").open(encoding="utf-8") as source:
        for row in csv.DictReader(source):
            share = max(Fraction(row["compute"]), Fraction(row["memory"]))
            variants = [
                name if name.startswith("-") else f".{name}" for name in filter(None, row["variants"].split("|"))
            ]
            for gpu in row["gpus"].split("|"):
                table.setdefault(gpu, {}).update({row["profile"] + variant: share for variant in ("", *variants)})
    return table
