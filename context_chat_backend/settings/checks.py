# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every reader of `config.yaml` takes, and what it says of anything else: the key first, then the cure."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from context_chat_backend.errors import ConfigurationError


class Layers(int):
    """A number of layers: 0 is none, -1 all there are."""


_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_PLACE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<otherwise>[^}]*))?\}")
_MOST = 2**50
"""What is larger means nothing here."""
_TYPES = {
    str: "a text (in quotes where it looks like a number)",
    bool: "true or false",
    int: "a whole number of at least 1",
    float: "a number",
    Layers: "a number of layers, -1 for all",
}


def typed(path: str, value: Any, kind: type) -> Any:
    """`value` when it is of that type, else ConfigurationError. It does not quote the value: it may be a password."""
    if kind is Layers and type(value) is int and value >= -1:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind or (type(value) is int and value < 1):
        raise ConfigurationError(f"{path}: expected {_TYPES[kind]}")
    return value


def section(path: str, given: Any, known: Iterable[str] | None = None) -> dict[str, Any]:
    """The options below `path`, of which there are those `known`; none where nothing stands there.

    Raises ConfigurationError.
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ConfigurationError(f"{path}: expected options below it, one 'key: value' a line")
    if known is not None:
        names = tuple(known)
        for key in given:
            if key not in names:
                raise ConfigurationError(unknown(f"{path}.{key}", str(key), names))
    return dict(given)


def whole(path: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number from `least` to `most`. Raises ConfigurationError."""
    if type(value) is not int or not least <= value <= (_MOST if most is None else most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigurationError(f"{path}: expected a whole number {span}, found {shown(value)}")
    return value


def port(path: str, value: Any) -> int:
    """A port to listen at. Raises ConfigurationError."""
    if type(value) is not int or not 1 <= value <= 65535:
        raise ConfigurationError(f"{path}: expected a port from 1 to 65535, found {shown(value)}")
    return value


def url(path: str, value: Any, example: str = "") -> str:
    """An address of a server. Raises ConfigurationError, which does not quote it: a password may stand in it."""
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        such = f", for example {example}" if example else ""
        raise ConfigurationError(f"{path}: expected a URL http://… or https://…{such}")
    return value


def one_of(path: str, value: Any, known: Iterable[str]) -> str:
    """One of `known`. Raises ConfigurationError."""
    names = tuple(known)
    if value not in names:
        raise ConfigurationError(f"{path}: expected one of {', '.join(names)}, found {shown(value)}")
    return str(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 2
_LONGEST_PATH = 200


def shown(value: Any) -> str:
    """`value` on one line of bounded length, however much it holds."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # a number of thousands of digits
        return "a number that is far too long"


def unknown(path: str, name: str, known: Iterable[str]) -> str:
    """The sentence about a key `name` at `path` that is none of `known`: the nearest one, or all there are."""
    names = tuple(known)
    near = difflib.get_close_matches(name[:_LONGEST_PATH], names, n=1)
    there_are = f"there are: {', '.join(names)}" if names else "it has none"
    path = "".join(letter if letter.isprintable() else "?" for letter in path[:_LONGEST_PATH])
    return f"config.yaml: unknown key '{path}'; " + (f"did you mean '{near[0]}'?" if near else there_are)


def switch(path: str, value: Any) -> bool:
    """A value that says yes or no, as it is or as a text. Raises ConfigurationError."""
    said = str(value).strip().lower()
    if said not in _TRUE + _FALSE:
        raise ConfigurationError(f"{path}: expected true or false, found {shown(value)}")
    return said in _TRUE


def fill(keys: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """`keys` themselves, with what stands in the environment in the place of `${NAME}`, or `${NAME:-what else}`, in the
    texts in them. YAML may hold a list in many places, in itself even: each is looked at once.

    Raises ConfigurationError where there is neither.
    """
    containers: list[Any] = [keys]
    seen = {id(keys)}
    while containers:
        container = containers.pop()
        for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            if isinstance(value, str):
                container[key] = _PLACE.sub(lambda place: _from(environment, place["name"], place["otherwise"]), value)
            elif isinstance(value, (dict, list)) and id(value) not in seen:
                seen.add(id(value))
                containers.append(value)
    return keys


def _from(environment: Mapping[str, str], name: str, otherwise: str | None) -> str:
    found = environment.get(name) or otherwise
    if found is None:
        raise ConfigurationError(
            f"config.yaml: ${{{name}}}: the environment has no {name}: set it, or write ${{{name}:-what else}}"
        )
    return found
