"""GPU names: every spelling leads to one SKU, and unknown ones are kept."""

import csv
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.models.gpu import normalise_sku, product_of, resource_name

TABLE = list(csv.DictReader(files("shared.models").joinpath("gpus.csv").read_text().splitlines()))


@pytest.mark.parametrize(
    ("spelling", "sku"),
    [
        ("H100", "H100"),
        ("h100", "H100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA-H100-80GB-HBM3", "H100"),
        ("nvidia_h100", "H100"),
        (" H100_SXM5 ", "H100"),
        ("Tesla T4", "T4"),
        ("Tesla-V100-SXM2-32GB", "V100-32GB"),
        ("V100M32", "V100-32GB"),
        ("A100", "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB-PCIE"),
        ("rtx a6000", "A6000"),
        ("G2", "G2"),
        ("some new gpu", "SOME-NEW-GPU"),
    ],
)
def test_every_spelling_leads_to_one_sku(spelling: str, sku: str) -> None:
    assert normalise_sku(spelling) == sku


@pytest.mark.parametrize("row", TABLE, ids=[row["sku"] for row in TABLE])
def test_each_row_is_found_by_all_its_names_and_by_no_other(row: dict[str, str]) -> None:
    names = [row["sku"], row["product"], f"NVIDIA {row['sku']}", *filter(None, row["aliases"].split("|"))]
    assert {normalise_sku(name) for name in names} == {row["sku"]}
    assert product_of(row["sku"]) == row["product"]


@given(st.text(max_size=30))
def test_normalising_twice_is_normalising_once(name: str) -> None:
    once = normalise_sku(name)
    assert normalise_sku(once) == once


def test_an_unknown_sku_is_its_own_product() -> None:
    assert product_of("G2") == "G2"


def test_slices_are_a_resource_of_their_own() -> None:
    assert resource_name(None) == "nvidia.com/gpu"
    assert resource_name("1g.10gb") == "nvidia.com/mig-1g.10gb"
