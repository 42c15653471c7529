"""What failures of pods mean to a Job: the fields of batch/v1 that a workload may have."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.models.fields import LabelKey, Wire


class ExitCodes(Wire):
    """Which exit codes of a container a rule is about: batch/v1 PodFailurePolicyOnExitCodesRequirement.

    container_name: the pod's one container, or without it any that is injected, too.
    """

    container_name: Literal["main"] | None = None
    operator: Literal["In", "NotIn"]
    values: Annotated[
        tuple[Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)], ...], Field(min_length=1, max_length=255)
    ]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.values)) != len(self.values):
            raise ValueError("values must not repeat an exit code")
        if self.operator == "In" and 0 in self.values:
            raise ValueError("values must not hold 0 when operator is In: a container that exits with 0 has not failed")
        return self


class PodCondition(Wire):
    """A condition of a failed pod that a rule is about, such as DisruptionTarget of a pod whose node is drained."""

    type: LabelKey
    status: Literal["True", "False", "Unknown"] = "True"


class PodFailureRule(Wire):
    """What a failed pod means to its Job: batch/v1 PodFailurePolicyRule. The first rule that matches counts.

    Ignore replaces the pod, and counts nothing. Count counts it towards backoffLimit. FailJob ends the Job.
    """

    action: Literal["FailJob", "Ignore", "Count"]
    on_exit_codes: ExitCodes | None = None
    on_pod_conditions: Annotated[tuple[PodCondition, ...], Field(max_length=20)] = ()

    @model_validator(mode="after")
    def _one_requirement(self) -> Self:
        if (self.on_exit_codes is None) is not bool(self.on_pod_conditions):
            raise ValueError("must have exactly one of onExitCodes and onPodConditions")
        return self


class PodFailurePolicy(Wire):
    """What failures of pods mean to a Job, such as a drained node: batch/v1 PodFailurePolicy."""

    rules: Annotated[tuple[PodFailureRule, ...], Field(min_length=1, max_length=20)]
