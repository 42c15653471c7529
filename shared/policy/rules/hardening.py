"""image and security: what may run at all."""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shared.models.image import canonical_registry, parse_image
from shared.models.plan import Verb
from shared.models.workload import LabelKey
from shared.policy.context import EvaluationContext
from shared.policy.rules.base import Breach, RuleModel

# The grammar of distribution/reference; what does not fit it, no runtime pulls.
_COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(/{_COMPONENT})*", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)
_HOST = r"([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:\d{1,5})?|[A-Za-z0-9-]+:\d{1,5}|localhost)"
_ALLOWED = re.compile(rf"{_HOST}(/{_COMPONENT})*/?", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_CAPABILITY = re.compile(r"(?!CAP_)[A-Z][A-Z0-9_]{0,62}", re.ASCII)


def _place(value: str) -> str:
    if not _ALLOWED.fullmatch(value):
        raise ValueError("must be a registry's host, or a path in it: docker.io, registry.example/team")
    host, slash, path = value.rstrip("/").partition("/")
    return f"{canonical_registry(host)}{slash}{path}"


def _tag(value: str) -> str:
    if not _TAG.fullmatch(value):
        raise ValueError("must be an image's tag, such as latest")
    return value


def _capability(value: str) -> str:
    if not _CAPABILITY.fullmatch(value):
        raise ValueError("must be a Linux capability as Kubernetes spells it, such as NET_BIND_SERVICE")
    return value


class ImageRule(RuleModel):
    """Where images may come from, and how they must be pinned.

    allowed_registries: a registry ("registry.example") or a path in one ("registry.example/team"); empty allows all.
    """

    type: Literal["image"]
    allowed_registries: tuple[Annotated[str, Field(max_length=255), AfterValidator(_place)], ...] = ()
    digest_required: bool = False
    forbidden_tags: tuple[Annotated[str, AfterValidator(_tag)], ...] = ()

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.allowed_registries and not self.digest_required and not self.forbidden_tags:
            raise ValueError("an image rule needs allowed_registries, digest_required or forbidden_tags")
        return self

    def check(self, context: EvaluationContext) -> Iterator[Breach]:
        text = context.plan.image
        image = parse_image(text)
        if not _PATH.fullmatch(image.repository):
            yield Breach("image", "an image reference", text, f"{text} is not a valid image reference")
            return
        home = f"{image.registry.lower()}/{image.repository}"
        if self.allowed_registries and not any(_under(home, place) for place in self.allowed_registries):
            allowed = ", ".join(self.allowed_registries)
            yield Breach("image", allowed, home, f"images may come from {allowed}; this one is from {home}")
        if self.digest_required and not _DIGEST.fullmatch(image.digest or ""):
            yield Breach("image", "a digest", text, f"{text} must be pinned by digest (@sha256:...)")
        if image.tag in self.forbidden_tags:
            yield Breach("image", f"not {image.tag}", str(image.tag), f"the tag {image.tag} is not allowed")


class SecurityRule(RuleModel):
    """What a pod may not have, each on unless it is switched off. It binds rollbacks too: only a removal is safe.

    allowed_toleration_keys, allowed_node_selector_keys: the only keys that a workload may name; without them any, and
    empty none. A toleration without a key tolerates everything, so that a list never allows it. What a workload with
    GPUs tolerates by itself (nvidia.com/gpu) is not checked.
    """

    spares_reducing: ClassVar[bool] = False

    type: Literal["security"]
    no_privileged: bool = True
    no_host_paths: bool = True
    no_host_namespaces: bool = True
    allowed_capabilities: tuple[Annotated[str, AfterValidator(_capability)], ...] = ()
    allowed_toleration_keys: tuple[LabelKey, ...] | None = None
    allowed_node_selector_keys: tuple[LabelKey, ...] | None = None

    def check(self, context: EvaluationContext) -> Iterator[Breach]:
        plan = context.plan
        if plan.verb is Verb.REMOVE:
            return
        security = plan.security
        if self.no_privileged and security.privileged:
            yield Breach("security.privileged", "false", "true", "privileged containers are not allowed")
        if self.no_host_paths and plan.host_paths:
            paths = ", ".join(plan.host_paths)
            yield Breach("volumes.host_path", "none", paths, f"host paths are not allowed: {paths}")
        if self.no_host_namespaces and (namespaces := security.host_namespaces):
            shared = ", ".join(namespaces)
            yield Breach("security", "none", shared, f"host namespaces are not allowed: {shared}")
        if extra := sorted(set(security.add_capabilities) - set(self.allowed_capabilities)):
            names, allowed = ", ".join(extra), ", ".join(self.allowed_capabilities) or "none"
            yield Breach("security.add_capabilities", allowed, names, f"added capabilities are not allowed: {names}")
        yield from _others("tolerations", "tolerations", plan.tolerations, self.allowed_toleration_keys)
        yield from _others("node_selector", "node selectors", plan.node_selector, self.allowed_node_selector_keys)


def _others(field: str, noun: str, keys: Iterable[str], allowed: tuple[str, ...] | None) -> Iterator[Breach]:
    if allowed is not None and (extra := sorted(set(keys) - set(allowed))):
        names, limit = ", ".join(key or "every taint" for key in extra), ", ".join(allowed) or "none"
        yield Breach(field, limit, names, f"{noun} are not allowed: {names}")


def _under(home: str, place: str) -> bool:
    return home.startswith(place.lower() + "/") or home == place.lower()
