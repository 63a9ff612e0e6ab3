# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which models the configuration means, and their adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from context_chat_backend.answering.moderation import Moderation
from context_chat_backend.answering.safety_rules import SafetyRules
from context_chat_backend.answering.verdicts import ModelJudge, WordList
from context_chat_backend.answering.writing import Templates, Writer
from context_chat_backend.config import Config
from context_chat_backend.errors import ConfigurationError, ModelNotFetched, ModelUnavailable, StartError
from context_chat_backend.health import Health
from context_chat_backend.inference.catalogue import CATALOGUE
from context_chat_backend.inference.download import fetch, is_there
from context_chat_backend.inference.embedding import build_embedder
from context_chat_backend.inference.language import build_language_model
from context_chat_backend.inference.language.extractive import ExtractiveModel
from context_chat_backend.inference.language.separate import SeparateLanguageModel
from context_chat_backend.inference.moderation import RemoteModerator
from context_chat_backend.inference.reranking import build_reranker
from context_chat_backend.logs import get_logger
from context_chat_backend.nextcloud.server import Nextcloud
from context_chat_backend.nextcloud.text2text import NextcloudWriter
from context_chat_backend.ports import Embedder, LanguageModel, Moderator, Reranker
from context_chat_backend.settings import ModelChoice
from context_chat_backend.settings.gateway import NamedModel
from context_chat_backend.settings.safety import SafetySettings

HOW_TO_FETCH = "run 'context-chat models fetch', or copy its folder from a machine that could"
_SERVERS = ("openai", "ollama", "remote")
"""Models that are asked over HTTP."""
_log = get_logger(__name__)


class Models:
    """Builds what the configuration names."""

    def __init__(self, config: Config, health: Health) -> None:
        """`health` shows how far a download has come."""
        self.missing: str | None = None
        """Which configured embedding model is replaced by the packaged one, why, and what to do."""
        self._config = config
        self._health = health
        self._folder = config.storage / "model_files"
        self._folder.mkdir(parents=True, exist_ok=True)

    async def choose_embedding(self, *, fetching: bool, in_use: Sequence[ModelChoice]) -> ModelChoice:
        """The configured model, with `fetching` brought here where it is missing; else the packaged one, if it may.

        `in_use` are the models of the spaces there are. Raises StartError when one of them is missing now.
        """
        choice, models = self._config.embedding, self._folder
        model = CATALOGUE.get(str(choice.options.get("model")))
        if model is None or is_there(model, models):
            return choice
        said = "CC_DOWNLOAD_MODELS_FROM_HF is false" if fetching else "it was not fetched yet"
        if fetching and self._config.download_models:
            try:
                _log.info("fetching_model", model=model.name, bytes=model.size)
                await fetch(model, models, self._fetched)
                return choice
            except ModelNotFetched as error:
                said = str(error)
        self.missing = f"{model.name} is not in {models} ({said}): {HOW_TO_FETCH}"
        for used in in_use:
            if used.options.get("model") == model.name:
                raise StartError(f"the index was made with a model that is missing: {self.missing}")
        _log.warning("embedding_falls_back", missing=self.missing, instead="the packaged MiniLM")
        return ModelChoice("onnx")

    def _fetched(self, done: int, whole: int) -> None:
        self._health.percent = 30 + 25 * done // max(whole, 1)

    def embedder(self, choice: ModelChoice) -> Embedder:
        """The embedder of a choice, not opened yet."""
        return build_embedder(
            choice.name,
            self._options(choice),
            models=self._folder,
            threads=self._config.indexing.embedding_threads,
            download=self._config.download_models,
        )

    def reranker(self) -> Reranker:
        """The configured re-ranker, not loaded yet."""
        choice = self._config.reranker
        return build_reranker(
            choice.name, self._options(choice), models=self._folder, threads=self._config.indexing.embedding_threads
        )

    def moderation(self, writers: Sequence[Writer]) -> Moderation | None:
        """Who judges questions and answers; None where nobody does. Raises ConfigurationError."""
        safety = self._config.safety
        if not safety.judge:
            return None
        return Moderation(
            self._judge(safety, writers),
            answers=safety.answers,
            refusal_message=safety.refusal_message,
            attempts=safety.max_retries + 1,
            pause_seconds=safety.retry_delay,
            timeout_seconds=safety.request_timeout,
            allows_on_timeout=safety.allow_on_timeout,
        )

    def _judge(self, safety: SafetySettings, writers: Sequence[Writer]) -> Moderator:
        if safety.judge == "words":
            return WordList(safety.words)
        if safety.judge == "rules":
            return SafetyRules()
        if safety.judge == "remote":
            return RemoteModerator(
                safety.base_url,
                model=safety.model,
                api_key=safety.api_key,
                timeout_seconds=safety.request_timeout,
                answer_bytes=self._config.limits.answer_bytes,
            )
        judges = [writer for writer in writers if writer.writes_asides and safety.model in ("", writer.model.name)]
        instructions = _judging(safety.prompt_file)
        if not judges and safety.ollama_url and safety.model:
            own = self._writer(ModelChoice("ollama", {"base_url": safety.ollama_url, "model": safety.model}), None)
            return ModelJudge(own, strict=safety.strict, instructions=instructions, closes=True)
        if not judges:
            raise ConfigurationError(
                "safety.judge: 'llm' needs a language model below llm or llm_fallback that can be asked beside answers "
                "(openai, llama, hugging_face), and safety.model, where it is set, its name; or use 'rules', 'words' "
                "or 'remote'"
            )
        return ModelJudge(judges[0], strict=safety.strict, instructions=instructions)

    def writers(self, nextcloud: Nextcloud | None) -> list[Writer]:
        """The language models in the order in which they are asked, not loaded yet.

        Where one is Nextcloud's and there is no Nextcloud, quotes must do.
        """
        return [self._writer(choice, nextcloud) for choice in (self._config.llm, *self._config.llm_fallback)]

    def named(self, writers: Sequence[Writer]) -> list[tuple[NamedModel, LanguageModel]]:
        """The models below `models`; those that write answers are the same ones."""
        known = {writer.model.name: writer.model for writer in writers}
        return [
            (one, known.get(one.name) or self._language_model(one.choice, None)) for one in self._config.gateway.models
        ]

    def _writer(self, choice: ModelChoice, nextcloud: Nextcloud | None) -> Writer:
        options = choice.options
        model = self._language_model(choice, nextcloud)
        stop = [options["end_separator"]] if "end_separator" in options else []
        stop += options.get("stop", [])
        templates = Templates(options.get("template"), options.get("no_ctx_template"), tuple(stop))
        # Quotes know no orders; of Nextcloud's users each may ask for few texts in a short time.
        writes_asides = model.name not in (ExtractiveModel.name, NextcloudWriter.name)
        return Writer(model, templates, writes_asides)

    def _language_model(self, choice: ModelChoice, nextcloud: Nextcloud | None) -> LanguageModel:
        name, options = choice.name, choice.options
        if name == NextcloudWriter.name and nextcloud is not None:
            return NextcloudWriter(
                nextcloud.client,
                context_tokens=options.get("context_tokens", 8192),
                answer_tokens=options.get("max_tokens", 1024),
            )
        return build_language_model(
            "extractive" if name == NextcloudWriter.name else name,
            self._options(choice),
            models=self._folder,
            threads=self._config.indexing.embedding_threads,
            download=self._config.download_models,
        )

    def _options(self, choice: ModelChoice) -> Mapping[str, Any]:
        """Those of a choice; servers have a bound for what they answer, too."""
        if choice.name not in _SERVERS:
            return choice.options
        return {**choice.options, "answer_bytes": self._config.limits.answer_bytes}


def _judging(prompt_file: str) -> str:
    """What a judging model is told. Raises ConfigurationError."""
    if not prompt_file:
        return ""
    try:
        return Path(prompt_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"safety.prompt_file: {prompt_file} cannot be read: name a text in UTF-8") from None


async def load(models: Sequence[LanguageModel]) -> None:
    """Load those that run here, so that no question waits for it. What cannot be loaded is tried again by questions."""
    for model in models:
        if isinstance(model, SeparateLanguageModel):
            with suppress(ModelUnavailable):
                await model.open()


async def probe(models: Sequence[LanguageModel]) -> list[tuple[str, str | None]]:
    """The name of each model in its order, and why it does not answer, for `doctor`."""
    found: list[tuple[str, str | None]] = []
    for model in models:
        try:
            await model.count_tokens(["health"])
            await model.context_tokens()
        except ModelUnavailable as error:
            found.append((model.name, str(error)))
        else:
            found.append((model.name, None))
    return found
