"""Image references are taken apart as container runtimes do."""

import pytest

from shared.models.image import ImageReference, parse_image

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("image", "registry", "repository", "tag", "digest"),
    [
        ("nginx", "docker.io", "library/nginx", "latest", None),
        ("nginx:1.29", "docker.io", "library/nginx", "1.29", None),
        ("search/ranker", "docker.io", "search/ranker", "latest", None),
        ("docker.io/nginx", "docker.io", "library/nginx", "latest", None),
        ("index.docker.io/nginx:1", "docker.io", "library/nginx", "1", None),
        ("ghcr.io/org/app:1", "ghcr.io", "org/app", "1", None),
        (f"ghcr.io/org/app@{DIGEST}", "ghcr.io", "org/app", None, DIGEST),
        (f"ghcr.io/org/app:1@{DIGEST}", "ghcr.io", "org/app", "1", DIGEST),
        ("localhost/app", "localhost", "app", "latest", None),
        ("localhost:5000/app", "localhost:5000", "app", "latest", None),
        ("registry:5000/team/app:2", "registry:5000", "team/app", "2", None),
        ("registry:5000", "docker.io", "library/registry", "5000", None),
        ("Registry/app", "Registry", "app", "latest", None),
        ("a/b/c/d:e", "docker.io", "a/b/c/d", "e", None),
    ],
)
def test_references(image: str, registry: str, repository: str, tag: str | None, digest: str | None) -> None:
    assert parse_image(image) == ImageReference(registry, repository, tag, digest)
