"""Image references, taken apart as container runtimes do (distribution/reference grammar)."""

from dataclasses import dataclass

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_NAMES = {"index.docker.io": DEFAULT_REGISTRY}


@dataclass(frozen=True)
class ImageReference:
    """`tag` is what a runtime would pull: "latest" when there is neither a tag nor a digest, None beside a digest."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None


def canonical_registry(host: str) -> str:
    """The name that a registry goes by: runtimes know Docker's under an older one too."""
    return _LEGACY_NAMES.get(host, host)


def parse_image(image: str) -> ImageReference:
    """ "nginx" -> docker.io, library/nginx, latest; "ghcr.io/org/app:1@sha256:..." -> all four."""
    rest, _, digest = image.partition("@")
    head, slash, tail = rest.partition("/")
    named = bool(slash) and ("." in head or ":" in head or head == "localhost" or head != head.lower())
    registry, path = (head, tail) if named else (DEFAULT_REGISTRY, rest)
    registry = canonical_registry(registry)
    repository, colon, tag = path.rpartition(":")
    if not colon:
        repository, tag = path, ""
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return ImageReference(registry, repository, tag or (None if digest else DEFAULT_TAG), digest or None)
