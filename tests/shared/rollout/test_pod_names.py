"""From a pod's name to its object, as Kubernetes' controllers name pods."""

import pytest

from shared.rollout.pod_names import owner_among, owners_of

LONG = "a" * 63
LONGER = "recommendations-of-the-evening-for-everybody-who-watches-tv"  # 59 characters


@pytest.mark.parametrize(
    ("pod", "kind", "name"),
    [
        ("web-7d9f6c8b5-x2x7k", "Deployment", "web"),
        ("web-api-5bb-x2x7k", "Deployment", "web-api"),
        ("db-0", "StatefulSet", "db"),
        ("db-17", "StatefulSet", "db"),
        ("train-r3-x2x7k", "Job", "train-r3"),
        ("train-r3-12-x2x7k", "Job", "train-r3"),
        (f"{LONG[:58]}x2x7k", "Deployment", LONG),
        (f"{LONGER[:58]}x2x7k", "Job", LONGER),
        (f"{LONG[:50]}-7d9f6c8x2x7k", "Deployment", LONG[:50]),  # the hash has lost its end
        (f"{LONG[:57]}-x2x7k", "Deployment", LONG[:57]),  # and here all of it
        (f"{LONG[:54]}-12-x2x7k", "Job", LONG[:57]),  # the name gave way to the index
    ],
)
def test_a_pod_belongs_to_the_object_that_its_name_begins_with(pod: str, kind: str, name: str) -> None:
    assert owner_among(pod, [(kind, name), ("Deployment", "other"), (kind, "wrong")]) == (kind, name)


def test_the_longest_name_that_fits_is_the_pods_own() -> None:
    objects = [("Deployment", "train"), ("Job", "train-r3")]
    assert owner_among("train-r3-x2x7k", objects) == ("Job", "train-r3")
    assert owner_among("train-7d9f6c8b5-x2x7k", objects) == ("Deployment", "train")


@pytest.mark.parametrize("pod", ["", "web", "web-7d9f6c8b5", "web-7d9f6c8b5-aeiou", "-x2x7k", "db-01", "web-x2x7k-"])
def test_a_name_that_no_controller_gives_belongs_to_nothing(pod: str) -> None:
    assert owner_among(pod, [("Deployment", "web"), ("StatefulSet", "db"), ("Job", "web")]) is None


def test_a_pod_names_few_objects() -> None:
    assert len(owners_of("a-2-2-2-2-22222")) <= 4
