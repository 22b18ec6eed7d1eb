"""Nested frozen dataclasses from JSON and back, with errors that name the field by its path."""

import dataclasses
import difflib
import json
import math
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from taesr.errors import FormatError, InvalidArgument, IoError

T = TypeVar("T")
_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "true or false",
    type(None): "null",
}


def read_json(path: str | Path) -> dict[str, Any]:
    """Read one JSON object; raises IoError, or FormatError with the line and column."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise IoError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not valid UTF-8 at byte {error.start}") from None
    try:
        document = json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from None
    except (InvalidArgument, RecursionError) as error:
        raise FormatError(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise FormatError(f"{path}: must be one JSON object, got {_short(document)}")
    return document


def from_dict(kind: type[T], document: Any, *, path: str = "") -> T:
    """Make the dataclass `kind` of a JSON object.

    Parameters
    ----------
    kind
        Dataclass whose fields are annotated with int, float, str, bool, None, list, tuple, dict,
        Literal, unions of these, Any, or further dataclasses.
    document
        What `json` parsed. Missing fields take their defaults.
    path
        Where the object lies, for messages.

    Raises
    ------
    InvalidArgument
        Unknown, missing, ill-typed and out-of-range fields, with their dotted path and value.
    """
    if not isinstance(document, dict):
        raise InvalidArgument(f"{path or 'config'} is {_short(document)}; it must be an object")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    for name in document:
        if name not in fields:
            raise InvalidArgument(f"unknown field {_join(path, name)}; {_suggestion(name, list(fields))}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in document:
            raise InvalidArgument(f"field {_join(path, name)} is missing")
    values = {name: _convert(document[name], hints[name], _join(path, name)) for name in document}
    try:
        return kind(**values)
    except InvalidArgument as error:
        begins_with_field = re.split(r"\W", str(error), maxsplit=1)[0] in fields
        separator = "" if not path else "." if begins_with_field else ": "
        raise InvalidArgument(f"{path}{separator}{error}") from None


def to_dict(value: Any) -> Any:
    """Turn nested dataclasses into JSON types; `from_dict` reads them back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_dict(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_dict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_dict(item) for item in value]
    return value


def with_value(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Copy a JSON object with the field at a dotted path replaced; list items are named by index."""
    key, _, rest = path.partition(".")
    if not rest:
        return {**document, key: value}
    inner = document.get(key, {})
    if isinstance(inner, list):
        index, _, deeper = rest.partition(".")
        if not index.isdigit() or int(index) >= len(inner):
            raise InvalidArgument(f"{key}.{index} does not exist; {key} has {len(inner)} items, from 0")
        items = list(inner)
        items[int(index)] = with_value(items[int(index)], deeper, value) if deeper else value
        return {**document, key: items}
    if not isinstance(inner, dict):
        raise InvalidArgument(f"{key} is {_short(inner)} and has no field {rest}")
    return {**document, key: with_value(inner, rest, value)}


def differences(one: Any, other: Any, *, path: str = "") -> list[str]:
    """Dotted paths of the values in which two JSON documents differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted(one.keys() | other.keys())
        found = [differences(one.get(name), other.get(name), path=_join(path, name)) for name in names]
        return [item for items in found for item in items]
    return [] if one == other else [path]


def _convert(value: Any, hint: Any, path: str) -> Any:
    """Check `value` against a type annotation and return it as that type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, path)
    if origin is Literal:
        if value in arguments and type(value) in {type(item) for item in arguments}:
            return value
        raise InvalidArgument(f"{path} is {_short(value)}; allowed: {', '.join(map(_short, arguments))}")
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value, path=path)
    if hint in _NAMES:
        return _convert_scalar(value, hint, path)
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise InvalidArgument(f"{path} is {_short(value)}; it must be an object")
        key_hint, item_hint = arguments or (str, Any)
        return {
            _convert_key(key, key_hint, path): _convert(item, item_hint, _join(path, key))
            for key, item in value.items()
        }
    if origin in (list, tuple) or hint in (list, tuple):
        return _convert_items(value, origin or hint, arguments, path)
    raise TypeError(f"fields of type {hint} are not supported ({path})")


def _convert_scalar(value: Any, hint: type, path: str) -> Any:
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 1e6
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise InvalidArgument(f"{path} is {_short(value)}; it must be {_NAMES[hint]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(f"{path} is {value}; it must be finite")
    return value


def _convert_union(value: Any, choices: tuple[Any, ...], path: str) -> Any:
    errors = []
    for choice in sorted(choices, key=lambda choice: choice is not type(value)):  # an exact match first
        try:
            return _convert(value, choice, path)
        except InvalidArgument as error:
            errors.append((choice, error))
    nested = [error for choice, error in errors if not (choice in _NAMES or isinstance(value, str))]
    if isinstance(value, dict | list) and nested:
        raise nested[0]
    allowed = ", ".join(_hint_text(choice) for choice in choices)
    raise InvalidArgument(f"{path} is {_short(value)}; allowed: {allowed}")


def _convert_items(value: Any, kind: Any, arguments: tuple[Any, ...], path: str) -> Any:
    if not isinstance(value, list | tuple):
        raise InvalidArgument(f"{path} is {_short(value)}; it must be a list")
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise InvalidArgument(f"{path} has {len(value)} items; it must have {len(arguments)}")
        hints = list(arguments)
    else:
        hints = [arguments[0] if arguments else Any] * len(value)
    pairs = enumerate(zip(value, hints, strict=True))
    return kind(_convert(item, hint, f"{path}.{i}") for i, (item, hint) in pairs)


def _convert_key(key: Any, hint: Any, path: str) -> Any:
    if hint is not int:
        return key
    try:
        return int(key)
    except (TypeError, ValueError):
        raise InvalidArgument(f"{path} has the key {key!r}; its keys must be whole numbers") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgument(f"field {name!r} appears twice in one object")
    return dict(pairs)


def _hint_text(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return ", ".join(map(_short, typing.get_args(hint)))
    if typing.get_origin(hint) in (list, tuple):
        return "a list"
    return _NAMES.get(hint, "an object")


def _suggestion(name: str, fields: list[str]) -> str:
    close = difflib.get_close_matches(name, fields, n=1)
    return f"did you mean {close[0]}?" if close else f"allowed: {', '.join(sorted(fields))}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else str(name)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
