"""image and security: which images may run, and with which privileges."""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shared.models.fields import LabelKey
from shared.models.image import InvalidImage, is_tag, parse_image, parse_registry_path
from shared.models.plan import Verb
from shared.policy.context import EvaluationContext
from shared.policy.rules.base import ExceededLimit, RuleModel

_CAPABILITY = re.compile(r"(?!CAP_)[A-Z][A-Z0-9_]{0,62}", re.ASCII)


def _tag(value: str) -> str:
    if not is_tag(value):
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
    allowed_registries: tuple[Annotated[str, Field(max_length=255), AfterValidator(parse_registry_path)], ...] = ()
    digest_required: bool = False
    forbidden_tags: tuple[Annotated[str, AfterValidator(_tag)], ...] = ()

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.allowed_registries and not self.digest_required and not self.forbidden_tags:
            raise ValueError("an image rule needs allowed_registries, digest_required or forbidden_tags")
        return self

    def check(self, context: EvaluationContext) -> Iterator[ExceededLimit]:
        text = context.plan.image
        try:
            image = parse_image(text)
        except InvalidImage:  # stored by an earlier release; nobody can say which registry or digest it names
            if self.allowed_registries or self.digest_required:
                yield ExceededLimit("image", "an image reference", text, f"{text} is not a valid image reference")
            return
        full_path = f"{image.registry}/{image.repository}"
        if self.allowed_registries and not any(_within(full_path, allowed) for allowed in self.allowed_registries):
            allowed = ", ".join(self.allowed_registries)
            yield ExceededLimit(
                "image", allowed, full_path, f"images may come from {allowed}; this one is from {full_path}"
            )
        if self.digest_required and image.digest is None:
            yield ExceededLimit("image", "a digest", text, f"{text} must be pinned by digest (@sha256:...)")
        if image.tag in self.forbidden_tags:
            yield ExceededLimit("image", f"not {image.tag}", str(image.tag), f"the tag {image.tag} is not allowed")


class SecurityRule(RuleModel):
    """What a pod may not have, each on unless it is switched off. It binds rollbacks too: only a removal is safe.

    allowed_toleration_keys, allowed_node_selector_keys: the only keys that a workload may name; without them any, and
    empty none. A toleration without a key tolerates everything, so that a list never allows it. What a workload with
    GPUs tolerates by itself (nvidia.com/gpu) is not checked.
    """

    exempts_harm_reduction: ClassVar[bool] = False

    type: Literal["security"]
    no_privileged: bool = True
    no_host_paths: bool = True
    no_host_namespaces: bool = True
    allowed_capabilities: tuple[Annotated[str, AfterValidator(_capability)], ...] = ()
    allowed_toleration_keys: tuple[LabelKey, ...] | None = None
    allowed_node_selector_keys: tuple[LabelKey, ...] | None = None

    def check(self, context: EvaluationContext) -> Iterator[ExceededLimit]:
        plan = context.plan
        if plan.verb is Verb.REMOVE:
            return
        security = plan.security
        if self.no_privileged and security.privileged:
            yield ExceededLimit("security.privileged", "false", "true", "privileged containers are not allowed")
        if self.no_host_paths and plan.host_paths:
            paths = ", ".join(plan.host_paths)
            yield ExceededLimit("volumes.host_path", "none", paths, f"host paths are not allowed: {paths}")
        if self.no_host_namespaces and (namespaces := security.host_namespaces):
            shared = ", ".join(namespaces)
            yield ExceededLimit("security", "none", shared, f"host namespaces are not allowed: {shared}")
        if extra := sorted(set(security.add_capabilities) - set(self.allowed_capabilities)):
            names, allowed = ", ".join(extra), ", ".join(self.allowed_capabilities) or "none"
            yield ExceededLimit(
                "security.add_capabilities", allowed, names, f"added capabilities are not allowed: {names}"
            )
        yield from _others("tolerations", "tolerations", plan.tolerations, self.allowed_toleration_keys)
        yield from _others("node_selector", "node selectors", plan.node_selector, self.allowed_node_selector_keys)


def _others(field: str, noun: str, keys: Iterable[str], allowed: tuple[str, ...] | None) -> Iterator[ExceededLimit]:
    if allowed is not None and (extra := sorted(set(keys) - set(allowed))):
        names, limit = ", ".join(key or "every taint" for key in extra), ", ".join(allowed) or "none"
        yield ExceededLimit(field, limit, names, f"{noun} are not allowed: {names}")


def _within(full_path: str, allowed: str) -> bool:
    return full_path == allowed or full_path.startswith(f"{allowed}/")
