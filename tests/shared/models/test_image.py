"""Image references are taken apart as container runtimes do."""

import re

import pytest

from shared.models.image import ImageReference, InvalidImage, parse_image, parse_registry_path

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
        ("Registry/app", "registry", "app", "latest", None),
        ("GHCR.io/org/app", "ghcr.io", "org/app", "latest", None),
        ("[fd00::1]:5000/app", "[fd00::1]:5000", "app", "latest", None),
        ("[FD00::1]/app:1", "[fd00::1]", "app", "1", None),
        ("a__b/c---d.e", "docker.io", "a__b/c---d.e", "latest", None),
        ("app@sha512:" + "a" * 128, "docker.io", "library/app", None, "sha512:" + "a" * 128),
        ("a/b/c/d:e", "docker.io", "a/b/c/d", "e", None),
    ],
)
def test_references(image: str, registry: str, repository: str, tag: str | None, digest: str | None) -> None:
    assert parse_image(image) == ImageReference(registry, repository, tag, digest)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("Nginx", "must be in lower case but for its tag: write 'nginx'"),
        ("ghcr.io/Org/app", "must be in lower case but for its tag: write 'org/app'"),
        ("nginx:", "has a malformed tag"),
        ("nginx:-1", "has a malformed tag"),
        ("nginx:" + "a" * 129, "has a malformed tag"),
        ("app:1.0+build", "has a malformed tag"),
        ("nginx@", "has a malformed digest: write @sha256: and 64"),
        ("nginx@sha256:abc", "has a malformed digest"),
        ("nginx@sha256:" + "A" * 64, "has a malformed digest"),
        ("nginx@md5:" + "0" * 64, "has a malformed digest"),
        (f"nginx@{DIGEST}@{DIGEST}", "has a malformed digest"),
        ("a//b", "must be an image reference, such as"),
        ("/app", "must be an image reference, such as"),
        ("app/", "must be an image reference, such as"),
        ("team/../app", "must be an image reference, such as"),
        ("a_-b", "must be an image reference, such as"),
        ("nginx ", "must be an image reference, such as"),
        ("nginx\n", "must be an image reference, such as"),
        ("nginx٣", "must be an image reference, such as"),
        ("a" * 256, "must be an image reference, such as"),
        ("http://reg/app", "leave http:// or https:// out"),
        ("https://ghcr.io/org/app", "leave http:// or https:// out"),
        ("-reg.example/app", "has a malformed registry"),
        ("reg.example:port/app", "has a malformed registry"),
        ("fd00::1/app", "has a malformed registry"),
        ("[fd00::1%eth0]/app", "has a malformed registry"),
        ("0" * 64, "is the id of an image"),
        ("a/" * 600 + "b", "must have at most 1024 characters"),
    ],
)
def test_what_no_runtime_pulls_is_refused_with_its_part(image: str, said: str) -> None:
    with pytest.raises(InvalidImage, match=re.escape(said)):
        parse_image(image)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("docker.io", "docker.io"), ("GHCR.io/search/", "ghcr.io/search"), ("index.docker.io/a", "docker.io/a"),
     ("localhost", "localhost"), ("reg:5000/a/b", "reg:5000/a/b"), ("[FD00::1]:5000/team", "[fd00::1]:5000/team")],
)  # fmt: skip
def test_a_registry_and_a_path_in_it(text: str, canonical: str) -> None:
    assert parse_registry_path(text) == canonical


@pytest.mark.parametrize(
    "text", ["", "library/nginx", "https://ghcr.io", "ghcr.io//a", "ghcr.io/A", "ghcr.io/a:1", "[x]/a"]
)
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(InvalidImage, match="must be a registry's host, or a path in it"):
        parse_registry_path(text)
