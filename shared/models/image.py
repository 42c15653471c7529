"""Image references, by the grammar that container runtimes read them with.

The grammar is github.com/distribution/reference (regexp.go, reference.go and normalize.go, v0.6.0), which the kubelet,
containerd and Docker share:

    reference      = name [":" tag] ["@" digest]
    name           = [domain "/"] component *("/" component)
    domain         = host [":" digits]
    host           = label *("." label) | "[" hexadecimal digits and ":" "]"
    label          = alphanumeric [*(alphanumeric | "-") alphanumeric]
    component      = lower-case alphanumeric *(separator lower-case alphanumeric)
    separator      = "." | "_" | "__" | 1*"-"
    tag            = word character *127(word character | "." | "-")
    digest         = "sha256:" 64 hex | "sha384:" 96 hex | "sha512:" 128 hex     (hex in lower case)

The first part is a domain if it has a "." or a ":", has a capital, or is "localhost"; otherwise the name is one of
docker.io, and one of a single component belongs to docker.io/library. A name without its domain has at most 255
characters. 64 hexadecimal digits are no name, because they look like an image's id.

What Kubernetes does not pull is refused here: it answers InvalidImageName on the node, minutes after the submission.
"""

import re
from dataclasses import dataclass

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
LONGEST = 1024
"""A domain, a name, a tag and a digest of the longest kind have fewer characters."""

_LEGACY_NAMES = {"index.docker.io": DEFAULT_REGISTRY}
_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_LONGEST_PATH = 255


class InvalidImage(ValueError):
    """Text that no runtime pulls; the message says which part is wrong, and what is right."""


@dataclass(frozen=True)
class ImageReference:
    """The parts of a reference, as a runtime understands them.

    registry is in lower case, since hosts are compared without case. tag is what would be pulled: "latest" when there
    is neither a tag nor a digest, None beside a digest alone.
    """

    registry: str
    repository: str
    tag: str | None
    digest: str | None


def parse_image(text: str) -> ImageReference:
    """ "nginx" -> docker.io, library/nginx, latest; "ghcr.io/org/app:1@sha256:..." -> all four. Raises InvalidImage."""
    if len(text) > LONGEST:
        raise InvalidImage(f"must have at most {LONGEST} characters")
    if "://" in text:
        raise InvalidImage("must be an image reference without a scheme: leave http:// or https:// out")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise InvalidImage("has a malformed digest: write @sha256: and 64 lower-case hexadecimal digits")
    domain, path = _split_domain(rest)
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidImage(
            "has a malformed tag: write at most 128 letters, digits, '_', '.' and '-' after the ':', and no '+'"
        )
    if domain is not None and not _DOMAIN.fullmatch(domain):
        raise InvalidImage("has a malformed registry: write a host and a port, such as registry.example:5000")
    if path != path.lower():
        raise InvalidImage(f"must be in lower case but for its tag: write {path.lower()[:80]!r}")
    if not _PATH.fullmatch(path) or len(path) > _LONGEST_PATH:
        raise InvalidImage(
            "must be an image reference, such as nginx:1.29 or registry.example:5000/team/app@sha256:..."
        )
    if domain is None and _IMAGE_ID.fullmatch(path):
        raise InvalidImage("is the id of an image, which no registry knows: write its name and digest")
    registry = canonical_registry(domain or DEFAULT_REGISTRY)
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    return ImageReference(registry, path, tag or (None if digest else DEFAULT_TAG), digest or None)


def parse_registry_path(text: str) -> str:
    """A registry, or a path in one, in its canonical form: "GHCR.io/team/" -> "ghcr.io/team". Raises InvalidImage."""
    head, slash, path = text.rstrip("/").partition("/")
    named = _names_domain(head) and _DOMAIN.fullmatch(head) and len(text) <= LONGEST
    if not named or (slash and not _PATH.fullmatch(path)):
        raise InvalidImage("must be a registry's host, or a path in it: docker.io, registry.example/team")
    return f"{canonical_registry(head)}{slash}{path}"


def is_tag(text: str) -> bool:
    """Whether an image can have it as its tag."""
    return _TAG.fullmatch(text) is not None


def canonical_registry(host: str) -> str:
    """The one name of a registry: in lower case, and Docker's without its older name."""
    host = host.lower()
    return _LEGACY_NAMES.get(host, host)


def _split_domain(name: str) -> tuple[str | None, str]:
    head, slash, path = name.partition("/")
    return (head, path) if slash and _names_domain(head) else (None, name)


def _names_domain(head: str) -> bool:
    return "." in head or ":" in head or head == "localhost" or head != head.lower()
