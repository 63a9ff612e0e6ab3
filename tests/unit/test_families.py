# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import pytest

from context_chat_backend.inference.embedding.families import Family, family_of

TASK = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
REPRESENT = "Represent this sentence for searching relevant passages: "


@pytest.mark.parametrize(
    ("name", "question", "passage", "pooling"),
    [
        ("intfloat/e5-large-v2", "query: ", "passage: ", "mean"),
        ("e5-small", "query: ", "passage: ", "mean"),
        ("intfloat/multilingual-e5-base", "query: ", "passage: ", "mean"),
        ("multilingual-e5-small-int8.onnx", "query: ", "passage: ", "mean"),
        ("Multilingual_E5_Small.Q8_0.gguf", "query: ", "passage: ", "mean"),
        ("multilingual-e5-small/model_qint8_avx512_vnni", "query: ", "passage: ", "mean"),
        ("models--intfloat--multilingual-e5-small", "query: ", "passage: ", "mean"),
        ("intfloat/multilingual-e5-large-instruct", f"{TASK} ", "", "mean"),
        ("intfloat/e5-mistral-7b-instruct", f"{TASK} ", "", "lasttoken"),
        ("BAAI/bge-small-en-v1.5", REPRESENT, "", "cls"),
        ("bge_large_en_v1.5_quantized.onnx", REPRESENT, "", "cls"),
        ("BAAI/bge-m3", "", "", "cls"),
        ("BAAI/bge-base-zh-v1.5", "为这个句子生成表示以用于检索相关文章：", "", "cls"),
        ("nomic-ai/nomic-embed-text-v1.5", "search_query: ", "search_document: ", "mean"),
        ("nomic-embed-text-v2-moe", "search_query: ", "search_document: ", "mean"),
        ("sentence-transformers/all-MiniLM-L6-v2", "", "", "mean"),
        ("paraphrase-multilingual-MiniLM-L12-v2", "", "", "mean"),
        ("thenlper/gte-base", "", "", "mean"),
        ("Alibaba-NLP/gte-large-en-v1.5", "", "", "cls"),
        ("Alibaba-NLP/gte-multilingual-base", "", "", "cls"),
        ("Alibaba-NLP/gte-Qwen2-1.5B-instruct", f"{TASK} ", "", "lasttoken"),
        ("Snowflake/snowflake-arctic-embed-m-v1.5", REPRESENT, "", "cls"),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", "", "cls"),
        ("mixedbread-ai/mxbai-embed-large-v1", REPRESENT, "", "cls"),
        ("mixedbread-ai/deepset-mxbai-embed-de-large-v1", "query: ", "passage: ", "cls"),
        (
            "jinaai/jina-embeddings-v3",
            "Represent the query for retrieving evidence documents: ",
            "Represent the document for retrieval: ",
            "mean",
        ),
        ("Qwen/Qwen3-Embedding-0.6B", TASK, "", "lasttoken"),
        ("Qwen3-Embedding-0.6B-Q8_0.gguf", TASK, "", "lasttoken"),
    ],
)
def test_a_model_has_the_prefixes_it_was_trained_with(name: str, question: str, passage: str, pooling: str) -> None:
    family = family_of(name)

    assert (family.question_prefix, family.passage_prefix, family.pooling) == (question, passage, pooling)


@pytest.mark.parametrize(
    "name",
    [
        "", "model", "my-model", "prime5-base", "e50-base", "e5", "me5-small", "e5-xsmall", "bge-reranker-base",
        "beige-small-en", "bge-m30", "bge-small", "nomic-embed-code", "nomic-embed-vision-v1.5",
        "gte-reranker-modernbert-base", "qwen3-0.6b", "jina-embeddings-v2-base-en", "arctic-embedding-m",
        "mxbai-rerank-large-v1", "all-MiniLMs",
    ],
)  # fmt: skip
def test_a_name_that_is_only_alike_has_no_prefixes(name: str) -> None:
    assert family_of(name) == Family()


@pytest.mark.parametrize(
    ("name", "languages"),
    [
        ("e5-base-v2", ("english",)),
        ("multilingual-e5-base", ()),
        ("all-MiniLM-L12-v2", ("english",)),
        ("paraphrase-multilingual-mpnet-base-v2", ()),
        ("bge-base-en-v1.5", ("english",)),
        ("bge-m3", ()),
        ("nomic-embed-text-v1.5", ("english",)),
        ("nomic-embed-text-v2-moe", ()),
        ("snowflake-arctic-embed-m", ("english",)),
        ("snowflake-arctic-embed-m-v2.0", ()),
        ("something else", ()),
    ],
)
def test_models_of_one_language_are_known(name: str, languages: tuple[str, ...]) -> None:
    assert family_of(name).languages == languages


def test_the_folder_tells_what_a_file_called_model_is() -> None:
    assert family_of("e5-base-v2/model").question_prefix == "query: "
    assert family_of("C:\\models\\bge-m3\\multilingual-e5-small.onnx").passage_prefix == "passage: "
