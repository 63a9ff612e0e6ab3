# SPDX-License-Identifier: AGPL-3.0-or-later
"""The models a gateway passes requests on to, and which of them a name means."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from context_chat_backend.completing.templates import Template, aliases
from context_chat_backend.errors import ModelNotFound
from context_chat_backend.ports import LanguageModel, Relay

_NAME = re.compile(r"[A-Za-z0-9/_.:+-]{1,200}")
_DEFAULT_NAMES = ("", "CONTRASTcode")
"""What clients send that want the default."""


class Role(StrEnum):
    """What a model is asked for."""

    COMPLETION = "completion"
    CHAT = "chat"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model by the name it is served under."""

    name: str
    model: LanguageModel
    relay: Relay
    template: Template
    context_tokens: int
    """How many tokens prompt and answer may have together."""
    answer_tokens: int


class ServedModels:
    """All of them, and the defaults of the roles."""

    def __init__(self, models: Sequence[ServedModel], roles: Mapping[Role, Sequence[str]]) -> None:
        """`roles` names the models of a role, the default first."""
        self._models = {model.name: model for model in models}
        self._roles = {role: [name for name in names if name in self._models] for role, names in roles.items()}

    @property
    def all(self) -> list[ServedModel]:
        """All of them: those that answer, in the order they are asked, then the others."""
        return list({one.name: one for one in [*self.of(Role.CHAT), *self._models.values()]}.values())

    def roles_of(self, name: str) -> list[Role]:
        """What a model is asked for."""
        return [role for role, names in self._roles.items() if name in names]

    @property
    def version(self) -> int:
        """A number that changes when the list of models does."""
        told = repr([(one.name, one.context_tokens, one.template.family) for one in self._models.values()])
        told += repr(sorted(self._roles.items()))
        return int.from_bytes(hashlib.sha256(told.encode()).digest()[:4], "big") >> 1

    def of(self, role: Role) -> list[ServedModel]:
        """The models of a role, the default first."""
        return [self._models[name] for name in self._roles[role]]

    def named(self, name: str, role: Role) -> ServedModel:
        """The model that is meant. Raises ModelNotFound."""
        if name and not _NAME.fullmatch(name):
            raise ModelNotFound(f"model: {name[:200]!r} is no name of a model: it has letters, digits and /_.:+-")
        role_meant = Role(aliases()[name]) if name in aliases() else role if name in _DEFAULT_NAMES else None
        if name in self._models:
            return self._models[name]
        if role_meant is not None and (defaults := self.of(role_meant)):
            return defaults[0]
        family = name.partition("/")[0] if "/" in name else ""
        for one in self._models.values():
            if family and one.name.partition("/")[0] == family and "/" in one.name:
                return one
        raise ModelNotFound(f"model: there is no model {name!r}: GET /v1/models")
