"""Types of other systems that the chain takes, under those systems' own rules."""

from pydantic import ConfigDict

from events.catalogue import CATALOGUE
from shared.models.fields import LazyModel


class ForeignData(LazyModel):
    """Other systems add fields as they please."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ObjectReferenceData(ForeignData):
    """A Kubernetes ObjectReference, as ApiServerSource sends it in mode Reference."""

    kind: str
    name: str
    namespace: str = ""


_REFERENCE = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "search", "name": "test-inference"}


@CATALOGUE.declare("dev.knative.apiserver.ref.add", foreign=True, repeated=True, outside=True, example=_REFERENCE)
class ObjectAdded(ObjectReferenceData):
    """An object appeared."""


@CATALOGUE.declare("dev.knative.apiserver.ref.update", foreign=True, repeated=True, outside=True, example=_REFERENCE)
class ObjectUpdated(ObjectReferenceData):
    """An object changed, its status included."""


@CATALOGUE.declare("dev.knative.apiserver.ref.delete", foreign=True, repeated=True, outside=True, example=_REFERENCE)
class ObjectDeleted(ObjectReferenceData):
    """An object is gone."""


@CATALOGUE.declare("dev.knative.sources.ping", foreign=True, repeated=True, outside=True, example={})
class Tick(ForeignData):
    """PingSource's beat: deadlines, drift, missed events, waiting work, the outbox."""
