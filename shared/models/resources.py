"""What one replica of a workload asks for: CPU, memory and GPUs."""

from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from shared.models import gpu as gpus
from shared.models.fields import Bytes, LabelValue, Millicores, Wire, matching

MIN_CPU = 10
"""Millicores. The kubelet gives no container less: a quota is at least 1 ms in a period of 100 ms (MinQuotaPeriod)."""

MIN_MEMORY = 6 * 1024**2
"""Bytes. Docker refuses a container with less, because runc cannot start it (linuxMinMemory)."""


def _at_most(limit: int, text: str) -> AfterValidator:
    """No machine has more; and the ledger's sums over 10,000 replicas and many workloads stay 64-bit integers."""

    def check(value: int) -> int:
        if value > limit:
            raise ValueError(f"must be at most {text} a replica")
        return value

    return AfterValidator(check)


def _at_least(limit: int, text: str) -> AfterValidator:
    """Zero is no limit to Kubernetes, and what has no limit takes what no ledger counts."""

    def check(value: int) -> int:
        if value < limit:
            raise ValueError(f"must be at least {text} a replica: zero and almost zero are no limit to Kubernetes")
        return value

    return AfterValidator(check)


def _sku(value: object) -> object:
    return gpus.normalise_sku(value) if isinstance(value, str) else value


def _mig_profile(value: object) -> object:
    return value.replace("+", ".") if isinstance(value, str) else value


class GpuRequest(Wire):
    """GPUs of one replica. Without a SKU any GPU will do; with a MIG profile the count is of slices.

    product: the one value of the node label nvidia.com/gpu.product that will do. A SKU that spells out such a value
    sets it.
    """

    count: Annotated[int, Field(ge=0, le=64, strict=True)] = 0
    sku: Annotated[LabelValue, StringConstraints(min_length=1), BeforeValidator(_sku)] | None = None
    product: Annotated[LabelValue, StringConstraints(min_length=1)] | None = None
    mig: (
        Annotated[
            str,
            BeforeValidator(_mig_profile),
            matching(gpus.MIG_PROFILE.pattern, 'must be a MIG profile such as "1g.10gb"'),
        ]
        | None
    ) = None

    @model_validator(mode="before")
    @classmethod
    def _sku_and_product(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        sku, product = data.get("sku"), data.get("product")
        if product is None and isinstance(sku, str) and (named := gpus.product_named(sku)):
            return {**data, "product": named}
        return {**data, "sku": product} if sku is None and product is not None else data

    @model_validator(mode="after")
    def _one_gpu(self) -> Self:
        if self.product is not None and (sku := gpus.normalise_sku(self.product)) != self.sku:
            raise ValueError(
                f"product {self.product} is a GPU of the SKU {sku}, and sku says {self.sku}; leave one out"
            )
        return self


class Resources(Wire):
    """What one replica asks for; requests and limits are the same."""

    # What others read in the exported schema is the wire form: a default of 1000 would be a thousand cores.
    cpu: Annotated[Millicores, _at_least(MIN_CPU, "10m"), _at_most(10_000 * 1000, "10000 cores")] = Field(
        default=1000, json_schema_extra={"default": "1"}
    )
    memory: Annotated[Bytes, _at_least(MIN_MEMORY, "6Mi"), _at_most(32 * 1024**4, "32Ti")] = Field(
        default=1024**3, json_schema_extra={"default": "1Gi"}
    )
    gpu: GpuRequest = GpuRequest()
