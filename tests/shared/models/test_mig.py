"""Shares of MIG slices, as the tables of NVIDIA's MIG User Guide give them."""

from fractions import Fraction

import pytest

from shared.errors import UnknownMigProfile
from shared.models.gpu import MIG_PROFILE, normalise_sku
from shared.models.mig import profiles_of, share_of

DIVIDED = ["A30", "A100-40GB", "A100-80GB", "H100", "H100-NVL", "GH200", "H200", "B200", "GB200", "B300", "GB300"]


@pytest.mark.parametrize(
    ("gpu", "profile", "share"),
    [
        ("A30", "1g.6gb", Fraction(1, 4)),
        ("A30", "2g.12gb.me", Fraction(1, 2)),
        ("A30", "4g.24gb", Fraction(1)),
        ("A100-40GB", "1g.5gb", Fraction(1, 7)),
        ("A100-40GB", "1g.5gb.me", Fraction(1, 7)),
        ("A100-40GB", "1g.10gb", Fraction(1, 4)),  # one compute slice, and memory of two
        ("A100-40GB", "3g.20gb", Fraction(1, 2)),  # half of the memory
        ("A100-40GB", "4g.20gb", Fraction(4, 7)),
        ("A100-80GB-PCIE", "2g.20gb", Fraction(2, 7)),
        ("H100", "1g.20gb", Fraction(1, 4)),
        ("H100-PCIE", "7g.80gb", Fraction(1)),
        ("H100-NVL", "3g.47gb", Fraction(1, 2)),
        ("GH200", "4g.48gb", Fraction(4, 7)),
        ("H200", "3g.71gb", Fraction(1, 2)),
        ("B200", "1g.45gb", Fraction(1, 4)),
        ("GB200", "7g.186gb", Fraction(1)),
        ("GB300", "1g.35gb", Fraction(1, 7)),
        ("H200", "1g.35gb", Fraction(1, 4)),
        ("RTX-PRO-6000", "1g.24gb-me", Fraction(1, 4)),
        ("RTX-PRO-6000", "2g.48gb.gfx", Fraction(1, 2)),
        ("RTX-PRO-6000", "1g.24gb.me.all", Fraction(1, 4)),
        ("RTX-PRO-6000", "4g.96gb.gfx", Fraction(1)),
    ],
)
def test_a_slice_takes_the_larger_share_of_compute_and_memory(gpu: str, profile: str, share: Fraction) -> None:
    assert share_of(gpu, profile) == share


@pytest.mark.parametrize("gpu", DIVIDED)
def test_the_largest_profile_of_a_gpu_is_the_whole_gpu(gpu: str) -> None:
    profiles = profiles_of(gpu)
    assert normalise_sku(gpu) == gpu
    assert max(profiles.values()) == 1
    assert all(MIG_PROFILE.fullmatch(profile) for profile in profiles)


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownMigProfile) as refused:
        share_of("A30", "1g.10gb")
    assert str(refused.value) == (
        "GPU A30 has no MIG profile 1g.10gb; it has 1g.6gb, 1g.6gb.me, 2g.12gb, 2g.12gb.me, 4g.24gb"
    )


def test_a_gpu_that_cannot_be_divided_says_so() -> None:
    with pytest.raises(UnknownMigProfile, match=r"GPU L4 has no MIG profile 1g\.6gb; no profile of it is known"):
        share_of("L4", "1g.6gb")
