"""Input from outside: decoded strictly into msgspec types; what does not fit names its field and
changes nothing."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from flask import request
from werkzeug.exceptions import BadRequest, UnprocessableEntity

T = TypeVar("T")
WHOLE = re.compile(r"(-?[0-9]{1,18})\.0{1,9}")
LARGE = 2.0**63  # what is no integer of 64 bits fits nowhere
FIELD = re.compile(r" - at `\$\.?(?P<path>[^`]*?)(?:\[\.\.\.\][^`]*)?`$")  # [...]: somewhere inside
NAMED = re.compile(r"(?:required|unknown) field `(?P<name>[^`]*)`")


class Invalid(UnprocessableEntity):
    """422 with the fields that are wrong: a sentence by field name."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {sentence}" for field, sentence in errors.items()))
        self.errors = dict(errors)


def read_json(type: type[T]) -> T:
    """The request's body as `type`. Raises BadRequest when it is no JSON, Invalid when a field is
    wrong."""
    try:
        return decode(request.get_data(), type)
    except msgspec.ValidationError as error:
        raise Invalid(fields(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("The body is not JSON.") from None


def decode(data: bytes | msgspec.Raw, type: type[T]) -> T:
    """JSON as `type`. A number without a fraction is an integer, however it is written: 1200.0 is
    one, as JSON Schema says. Raises msgspec.ValidationError and what else msgspec raises."""
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.ValidationError as error:
        if "got `float`" not in str(error):
            raise
    return msgspec.convert(_whole_numbers(msgspec.json.decode(data)), type)


def _whole_numbers(given: Any) -> Any:
    if isinstance(given, float):
        return int(given) if given.is_integer() and abs(given) < LARGE else given
    if isinstance(given, dict):
        return {name: _whole_numbers(value) for name, value in given.items()}
    return [_whole_numbers(one) for one in given] if isinstance(given, list) else given


def read_query(type: type[T]) -> T:
    """The query string as `type`; numbers may be written as text. Raises Invalid."""
    return convert(request.args.to_dict(), type)


def convert(given: Mapping[str, Any], type: type[T]) -> T:
    """Text fields, of a form or a query, as `type`. Raises Invalid."""
    try:
        return msgspec.convert(dict(given), type, strict=False)
    except msgspec.ValidationError as error:
        wrong = fields(error)
    (name,) = wrong
    whole = WHOLE.fullmatch(str(given.get(name, "")))
    if whole:
        return convert({**given, name: whole[1]}, type)
    raise Invalid(wrong)


def fields(error: msgspec.ValidationError) -> dict[str, str]:
    """The field that a msgspec error is about, and its sentence without the path."""
    text = str(error)
    path, named = FIELD.search(text), NAMED.search(text)
    field = (
        ".".join(part for part in (path and path["path"], named and named["name"]) if part)
        or "body"
    )
    return {field: FIELD.sub("", text).replace("`", "")}
