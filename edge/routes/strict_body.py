"""JSON bodies decoded strictly, each mistake named by its parameter. Litestar's own reading would take "4" for 4."""

import json
import re
from collections.abc import Generator
from typing import Protocol, TypeVar

import msgspec
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from edge.domain.requests import NOT_BUILT_YET
from edge.errors import BadInput, UnsupportedMediaType

StructT = TypeVar("StructT", bound=msgspec.Struct)

PICTURE_BODY_BYTES = 800 * 1024  # the longest prompt and the longest negative one, as the longest JSON can spell them

_PLACE = re.compile(r" - at `\$\.([a-z_]+)")
_FIELD = re.compile(r"(missing required|unknown) field `([^`]*)`")


class Registered(Protocol):
    @property
    def schema(self) -> Schema: ...


class SchemaRegistry(Protocol):
    def from_reference(self, reference: Reference, /) -> Registered: ...


class SchemaSource(Protocol):
    """As much of Litestar's schema creator as we need."""

    @property
    def schema_registry(self) -> SchemaRegistry: ...

    def for_field_definition(self, field_definition: FieldDefinition, /) -> Reference | Schema: ...


class StrictBody(AbstractDTO[StructT]):
    """`dto=StrictBody[SomeStruct]`: Litestar documents the struct, we decode it."""

    def decode_bytes(self, value: bytes) -> StructT:
        content_type = self.asgi_connection.headers.get("content-type", "").split(";")[0]
        if content_type.strip().lower() != "application/json":
            raise UnsupportedMediaType("the body must be application/json")
        return decode_strictly(value, self.model_type)

    @classmethod
    def create_for_field_definition(cls, *_: object, **__: object) -> None:
        """Nothing to prepare: msgspec knows the struct."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaSource
    ) -> Reference | Schema:
        described = schema_creator.for_field_definition(field_definition)
        if isinstance(described, Reference):
            schema_creator.schema_registry.from_reference(described).schema.additional_properties = False
        return described

    @classmethod
    def generate_field_definitions(cls, model_type: type) -> Generator[DTOFieldDefinition, None, None]:
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        return False


def decode_strictly(body: bytes, kind: type[StructT]) -> StructT:
    """Raises BadInput. Its message quotes the schema, never the value."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _mistake(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _malformed(body) from None


def _mistake(message: str) -> BadInput:
    if field := _FIELD.search(message):
        problem, name = field.groups()
        if problem == "missing required":
            return BadInput(f"`{name}` is missing", param=name, code="missing_parameter")
        if name in NOT_BUILT_YET:
            return BadInput(NOT_BUILT_YET[name], param=name, code="not_available")
        return BadInput("there is no such parameter", param=name, code="unknown_parameter")
    place = _PLACE.search(message)
    if place is None:
        return BadInput("the body must be a JSON object")
    expected = "not one of the values on offer" if message.startswith("Invalid enum") else message[: place.start()]
    return BadInput(expected, param=place[1])


def _malformed(body: bytes) -> BadInput:
    """Some writers put NaN or Infinity where JSON has no such number: name the field that has it."""
    not_a_number = object()
    try:
        fields = json.loads(body, parse_constant=lambda _: not_a_number)
    except (ValueError, RecursionError):
        return BadInput("the body is not JSON", code="invalid_json")
    if isinstance(fields, dict):
        for name, value in fields.items():
            if value is not_a_number:
                return BadInput("not a number", param=name)
    return BadInput("the body is not JSON", code="invalid_json")
