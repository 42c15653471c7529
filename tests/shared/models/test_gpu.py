"""GPU names: every spelling leads to one SKU, and unknown ones are kept."""

import csv
from importlib.resources import files

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.models.gpu import (
    matching_products,
    normalise_sku,
    parse_sku,
    product_named,
    product_of,
    published_products,
    resource_name,
)

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
        ("NVIDIA-GeForce-RTX-5090", "RTX-5090"),
        ("geforce rtx 5090", "RTX-5090"),
        ("Tesla-P4", "P4"),
        ("NVIDIA H100 PCIe", "H100-PCIE"),
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "A100-40GB-MIG-1g.5gb"),
        ("a100-40gb-mig-1G.5GB+ME", "A100-40GB-MIG-1g.5gb.me"),
        ("NVIDIA-L4-SHARED", "L4-SHARED"),
        ("NVIDIA-A30-MIG-2g.12gb-SHARED", "A30-MIG-2g.12gb-SHARED"),
        ("NVIDIA-New-GPU-SHARED", "NVIDIA-NEW-GPU-SHARED"),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition-MIG-1g.24gb-me", "RTX-PRO-6000-MIG-1g.24gb-me"),
        ("NVIDIA-A30-MIG-9x", "NVIDIA-A30-MIG-9X"),
    ],
)
def test_every_spelling_leads_to_one_sku(spelling: str, sku: str) -> None:
    assert normalise_sku(spelling) == sku


@pytest.mark.parametrize("row", TABLE, ids=[row["sku"] for row in TABLE])
def test_each_row_is_found_by_all_its_names_and_by_no_other(row: dict[str, str]) -> None:
    products = row["products"].split("|")
    bare = [product.removeprefix("NVIDIA-") for product in products]
    names = [row["sku"], *products, *bare, f"NVIDIA {row['sku']}", *filter(None, row["aliases"].split("|"))]
    assert {normalise_sku(name) for name in names} == {row["sku"]}
    assert published_products(row["sku"]) == tuple(products)
    assert row["sku"] == row["sku"].upper()


@given(st.text(max_size=30))
@example("A30-MIG-1g.6gb-SHARED")
@example("-SHARED-SHARED")
def test_normalising_twice_is_normalising_once(name: str) -> None:
    once = normalise_sku(name)
    assert normalise_sku(once) == once


def test_the_parts_of_a_sku_are_its_gpu_its_slice_and_whether_it_is_shared() -> None:
    name = parse_sku("nvidia a30-mig-1g.6gb-shared")
    assert (name.gpu, name.mig, name.shared) == ("A30", "1g.6gb", True)


@pytest.mark.parametrize(
    "product",
    [
        "NVIDIA-GeForce-RTX-5090",
        "NVIDIA-GeForce-RTX-3090",
        "Tesla-P4",
        "Tesla-T4",
        "Tesla-V100-PCIE-16GB",
        "NVIDIA-H100-PCIe",
        "NVIDIA-H100-NVL",
        "NVIDIA-A100-80GB-PCIe",
        "NVIDIA-GH200-144G-HBM3e",
        "NVIDIA-RTX-6000-Ada-Generation",
        "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition",
        "Quadro-RTX-8000",
        "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb",
        "NVIDIA-L4-SHARED",
        "NVIDIA-A30-MIG-1g.6gb.me-SHARED",
    ],
)
def test_a_product_keeps_the_case_of_its_nodes_and_is_matched_alone(product: str) -> None:
    sku = normalise_sku(product)
    assert product in published_products(sku)
    assert product_named(product) == product
    assert matching_products(sku, product_named(product), ()) == [product]
    assert product in matching_products(sku, product_named(product.lower()), ())


@pytest.mark.parametrize("name", ["H100", "h100", "A10", "A100-SXM4-40GB", "rtx 5090", "nvidia-h100-pcie", "G2"])
def test_any_other_name_of_a_sku_names_no_product(name: str) -> None:
    assert product_named(name) is None


def test_a_sku_accepts_every_spelling_of_its_products() -> None:
    assert matching_products("A100-40GB", None, ()) == ["A100-SXM4-40GB", "NVIDIA-A100-SXM4-40GB"]
    assert matching_products("L4-SHARED", None, ()) == ["NVIDIA-L4-SHARED"]
    assert matching_products("L4", None, ["NVIDIA-L4-SHARED", "NVIDIA-L4-MIG-1g.6gb"]) == ["NVIDIA-L4"]


def test_what_the_table_does_not_know_is_taken_from_the_nodes_and_else_at_its_word() -> None:
    text = "NVIDIA GeForce RTX 6090"
    sku, named = normalise_sku(text), product_named(text)
    assert (sku, named) == ("NVIDIA-GEFORCE-RTX-6090", "NVIDIA-GeForce-RTX-6090")
    assert matching_products(sku, named, ()) == ["NVIDIA-GeForce-RTX-6090"]
    nodes = ["NVIDIA-L4", "NVIDIA-Geforce-RTX-6090"]
    assert matching_products(sku, named, nodes) == ["NVIDIA-Geforce-RTX-6090"]
    assert matching_products(sku, None, nodes) == ["NVIDIA-Geforce-RTX-6090"]
    assert matching_products("H100", None, ["H100-80GB-hbm3"]) == [
        "H100-80GB-hbm3",
        "NVIDIA-H100",
        "NVIDIA-H100-80GB-HBM3",
    ]


def test_an_unknown_sku_is_its_own_product() -> None:
    assert product_of("G2") == "G2"
    assert product_of("H100") == "NVIDIA-H100-80GB-HBM3"


def test_slices_are_a_resource_of_their_own() -> None:
    assert resource_name(None) == "nvidia.com/gpu"
    assert resource_name("1g.10gb") == "nvidia.com/mig-1g.10gb"
