# SPDX-License-Identifier: AGPL-3.0-or-later
"""What published embedding models were trained with, by their names: prefixes, pooling, languages.

Without its prefixes a model still gives vectors, and worse ones: nothing fails, so they have to be known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from context_chat_backend.domain import EmbeddingSpace

_TASK = "Given a web search query, retrieve relevant passages that answer the query"
_REPRESENT = "Represent this sentence for searching relevant passages: "
_ENGLISH = ("english",)


@dataclass(frozen=True, slots=True)
class Family:
    """What models of one kind have in common."""

    question_prefix: str = ""
    passage_prefix: str = ""
    pooling: str = "mean"
    """Where the model's folder does not say it."""
    languages: tuple[str, ...] = ()
    """Text search configurations they were trained for; empty when they are multilingual."""

    def space(self, name: str, dimension: int) -> EmbeddingSpace:
        """The space of the model of that name."""
        return EmbeddingSpace(name, dimension, self.question_prefix, self.passage_prefix, self.languages)


_FAMILIES: tuple[tuple[str, Family], ...] = (
    # the first that fits counts
    (r"e5-mistral-7b-instruct", Family(f"Instruct: {_TASK}\nQuery: ", pooling="lasttoken", languages=_ENGLISH)),
    (r"multilingual-e5-large-instruct", Family(f"Instruct: {_TASK}\nQuery: ")),
    (r"e5-(small|base|large)-instruct", Family(f"Instruct: {_TASK}\nQuery: ", languages=_ENGLISH)),
    (r"multilingual-e5-(small|base|large)", Family("query: ", "passage: ")),
    (r"e5-(small|base|large)", Family("query: ", "passage: ", languages=_ENGLISH)),
    (r"bge-(micro|small|base|large)-en", Family(_REPRESENT, pooling="cls", languages=_ENGLISH)),
    (r"bge-(small|base|large)-zh", Family("为这个句子生成表示以用于检索相关文章：", pooling="cls")),
    (r"bge-m3", Family(pooling="cls")),
    (r"nomic-embed-text-v2(-moe)?", Family("search_query: ", "search_document: ")),
    (r"(nomic-embed-text|modernbert-embed)", Family("search_query: ", "search_document: ", languages=_ENGLISH)),
    (r"paraphrase-multilingual-(minilm|mpnet)", Family()),
    (r"(all|paraphrase|multi-qa)-(minilm|mpnet|distilroberta)", Family(languages=_ENGLISH)),
    (r"gte-(small|base|large)(-en)?-v1\.5", Family(pooling="cls", languages=_ENGLISH)),
    (r"gte-modernbert-base", Family(pooling="cls", languages=_ENGLISH)),
    (r"gte-multilingual-base", Family(pooling="cls")),
    (r"gte-qwen2-[\d.]+b-instruct", Family(f"Instruct: {_TASK}\nQuery: ", pooling="lasttoken")),
    (r"gte-(small|base|large)", Family(languages=_ENGLISH)),
    (r"(snowflake-)?arctic-embed-[ml]-v2\.0", Family("query: ", pooling="cls")),
    (r"(snowflake-)?arctic-embed-(xs|s|m|l)", Family(_REPRESENT, pooling="cls", languages=_ENGLISH)),
    (r"(deepset-)?mxbai-embed-de-large", Family("query: ", "passage: ", pooling="cls")),
    (r"mxbai-embed-(2d-)?large", Family(_REPRESENT, pooling="cls", languages=_ENGLISH)),
    (
        r"jina-embeddings-v3",
        Family("Represent the query for retrieving evidence documents: ", "Represent the document for retrieval: "),
    ),
    (r"qwen3-embedding", Family(f"Instruct: {_TASK}\nQuery:", pooling="lasttoken")),
    (r"embeddinggemma", Family("task: search result | query: ", "title: none | text: ")),
)
UNKNOWN = Family()
"""A family of which nothing is known."""


def family_of(name: str) -> Family:
    """The family of a model by its name, path or file name; one without prefixes when it is not known.

    `intfloat/e5-large-v2` and `multilingual_E5_small-int8.onnx` are both known; a name that only holds the letters of
    another, such as `prime5-base`, is not taken for it.
    """
    segments = re.split(r"[/\\]|--", name.lower().replace("_", "-"))
    for segment in reversed(segments):
        for pattern, family in _FAMILIES:
            if re.search(rf"(?<![a-z0-9]){pattern}(?![a-z0-9])", segment):
                return family
    return UNKNOWN
