# SPDX-License-Identifier: AGPL-3.0-or-later
"""The models of the gateway: those of `llm`, and those below `models`."""

from __future__ import annotations

from collections.abc import Sequence

from context_chat_backend.answering.writing import Writer
from context_chat_backend.completing.models import Role, ServedModel, ServedModels
from context_chat_backend.completing.passing import Passing
from context_chat_backend.completing.templates import template_of
from context_chat_backend.inference.relaying import relay_of
from context_chat_backend.ports import LanguageModel
from context_chat_backend.settings.gateway import GatewaySettings, NamedModel

_CONTEXT_TOKENS = 8192
"""Of a model of `llm` whose server is not asked before somebody writes."""


def open_passing(
    settings: GatewaySettings, named: Sequence[tuple[NamedModel, LanguageModel]], writers: Sequence[Writer]
) -> Passing:
    """What passes requests on to the models `named`, and to those that write answers."""
    served = {one.name: _named(one, model) for one, model in named}
    for writer in writers:
        served.setdefault(writer.model.name, _writer(writer.model))
    chat = [writer.model.name for writer in writers]
    roles = {
        Role.COMPLETION: settings.roles.get("completion") or [*(one.name for one, _ in named), *chat],
        Role.CHAT: [*dict.fromkeys([*settings.roles.get("chat", ()), *chat])],
    }
    return Passing(ServedModels(list(served.values()), roles), most_at_once=settings.max_parallel)


def _named(one: NamedModel, model: LanguageModel) -> ServedModel:
    template = template_of(one.choice.options.get("model", one.name), one.fim)
    return ServedModel(one.name, model, relay_of(model), template, one.context_tokens, one.answer_tokens)


def _writer(model: LanguageModel) -> ServedModel:
    return ServedModel(
        model.name, model, relay_of(model), template_of(model.name), _CONTEXT_TOKENS, model.answer_tokens
    )
