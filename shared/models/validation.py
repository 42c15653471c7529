"""Documents that a row holds, written by this release or by an earlier one.

A rule may grow stricter from one release to the next. It holds for what comes in; a row that was stored under an older
rule stays readable, and is judged by what it says. So whoever reads a row uses `read_stored`, which converts as ever
and enforces nothing. A document whose reading has changed, rather than a rule, asks `is_stored` in its validator.
"""

from __future__ import annotations

from functools import cache, partial
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    PlainValidator,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

STORED = "stored"
"""The validation context of whoever reads a row. Every other caller has none, and gets the strict rules."""

M = TypeVar("M", bound=BaseModel)

_CONVERSIONS = (BeforeValidator, PlainValidator, Discriminator, Tag)


def is_stored(info: ValidationInfo) -> bool:
    """Whether the document that is being validated is one that Sentinel has stored."""
    return info.context == STORED


def read_stored(model: type[M], document: object) -> M:
    """The model of a stored document. Raises ValueError for one that cannot be converted to the model's types.

    Where a rule of today refuses it, the document is taken without rules. A field that is unknown today is left out.
    """
    try:
        return model.model_validate(document, context=STORED)
    except ValidationError:
        if not isinstance(document, dict):
            raise
    values = {}
    for name, field in model.model_fields.items():
        key = field.alias if field.alias in document else name
        if key in document:
            try:
                values[name] = _reader(model, name).validate_python(document[key], context=STORED)
            except ValidationError as error:
                raise ValueError(f"{key}: {error.errors(include_url=False)[0]['msg']}") from None
        elif field.is_required():
            raise ValueError(f"{key}: is not there")
    return model.model_construct(**values)


@cache
def _reader(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    field: FieldInfo = model.model_fields[name]
    annotation: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return TypeAdapter(_without_rules(annotation))


def _without_rules(annotation: Any) -> Any:
    """A type that converts as `annotation` does, and refuses nothing beyond that."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kept = tuple(one for one in arguments[1:] if isinstance(one, _CONVERSIONS))
        bare = _without_rules(arguments[0])
        return Annotated[(bare, *kept)] if kept else bare
    if origin in (Union, UnionType):
        return Union[tuple(_without_rules(one) for one in arguments)]  # noqa: UP007 - built from a tuple
    if origin in (tuple, dict):
        return origin[tuple(one if one is Ellipsis else _without_rules(one) for one in arguments)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Annotated[Any, PlainValidator(partial(read_stored, annotation))]
    return annotation
