# SPDX-License-Identifier: AGPL-3.0-or-later
"""Questions with the documents that answer them: XQuAD, BEIR folders, and a folder of one's own.

What a folder is, its files tell: `xquad.<language>.json`; `corpus.jsonl`, `queries.jsonl` and `qrels/*.tsv` (BEIR); or
documents with a `questions.jsonl` beside them. docs/quality.md describes the formats.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from context_chat_backend.errors import InvalidRequest

LANGUAGES = ("en", "de", "es", "ro", "zh", "ru")
"""Those of XQuAD that are read."""
QUESTION_FILE = "questions.jsonl"


@dataclass(frozen=True, slots=True)
class Document:
    """What is indexed: a text, or the file at `path`."""

    key: str
    """What judgements call it."""
    title: str
    text: str = ""
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what answers it."""

    text: str
    relevant: Mapping[str, int]
    """Relevance by key of document; at least one is above 0."""
    group: str
    """Questions of a group are measured together: the language they are asked in, or the name of the folder."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """Documents and questions about them."""

    name: str
    documents: Sequence[Document]
    questions: Sequence[Asked] = field(repr=False)


def read(folder: Path, *, documents: Sequence[str] = (), asked_in: Sequence[str] = ()) -> DataSet:
    """The data set in `folder`. Of XQuAD the paragraphs in the languages `documents` (none: en) and the questions in
    `asked_in` (none: the languages of the documents).

    Raises InvalidRequest when files are missing or wrong; the text names file, line or field, and the cure.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is not a folder: name the one the data set lies in")
    if any(folder.glob("xquad.*.json")):
        return xquad(folder, documents or ("en",), asked_in or documents or ("en",))
    if documents or asked_in:
        raise InvalidRequest(
            f"--documents and --asked-in choose languages of XQuAD, and there is no xquad.<language>.json in {folder}: "
            "leave them out"
        )
    if (folder / "corpus.jsonl").exists():
        return beir(folder)
    if (folder / QUESTION_FILE).exists():
        return own_folder(folder)
    raise InvalidRequest(
        f"{folder} holds no data set: expected xquad.<language>.json, corpus.jsonl with queries.jsonl and qrels "
        f"(BEIR), or documents with a {QUESTION_FILE}"
    )


def xquad(folder: Path, documents: Sequence[str], asked_in: Sequence[str]) -> DataSet:
    """Paragraphs in the languages `documents`, each a document; the English ones are titled like their article.

    A question is answered by its paragraph in the language it is asked in, where that is among the documents, else by
    the same paragraph in all of theirs. Raises InvalidRequest.
    """
    for option, chosen in (("--documents", documents), ("--asked-in", asked_in)):
        for language in chosen:
            if language not in LANGUAGES:
                raise InvalidRequest(f"{option}: there is no language '{language}', choose of {', '.join(LANGUAGES)}")
    found: list[Document] = []
    for language in dict.fromkeys(documents):
        for key, article, paragraph in _paragraphs(folder, language):
            title = f"{article} {key}.txt" if language == "en" else f"{key}.txt"  # the titles of all are English
            found.append(Document(f"{language}-{key}", title, text=str(paragraph["context"])))
    questions: list[Asked] = []
    for language in dict.fromkeys(asked_in):
        answering = (language,) if language in documents else tuple(dict.fromkeys(documents))
        for key, _, paragraph in _paragraphs(folder, language):
            relevant = {f"{code}-{key}": 1 for code in answering}
            questions += [Asked(str(qa["question"]), relevant, language) for qa in paragraph["qas"]]
    return DataSet(f"XQuAD {'+'.join(dict.fromkeys(documents))}", found, questions)


def beir(folder: Path) -> DataSet:
    """A folder as BEIR lays it out; `qrels/test.tsv` judges where it is there, else the only file in `qrels`.

    Raises InvalidRequest, also when a judgement names an unknown document.
    """
    corpus = folder / "corpus.jsonl"
    documents: dict[str, Document] = {}
    for line, row in _rows(corpus):
        key, text = _text(row, "_id", corpus, line), _text(row, "text", corpus, line, blank=True)
        title = str(row.get("title") or "")
        if not (title + text).strip():
            continue  # BEIR has documents without any text; nothing finds them
        documents[key] = Document(key, f"{' '.join(title.replace('/', ' ').split()) or key}.txt", text=text or title)
    asked = {
        _text(row, "_id", folder / "queries.jsonl", line): _text(row, "text", folder / "queries.jsonl", line)
        for line, row in _rows(folder / "queries.jsonl")
    }
    empty = {_text(row, "_id", corpus, line) for line, row in _rows(corpus)} - set(documents)
    relevant: dict[str, dict[str, int]] = {}
    judging = _judging(folder)
    for line, query, key, gain in _judgements(judging):
        if query not in asked:
            raise InvalidRequest(
                f"{judging}, line {line}: query-id '{query}' is not in queries.jsonl: add or remove it"
            )
        if key not in documents and key not in empty:
            raise InvalidRequest(f"{judging}, line {line}: corpus-id '{key}' is not in corpus.jsonl: add or remove it")
        relevant.setdefault(query, {})[key] = gain
    questions = [
        Asked(asked[query], gains, folder.name) for query, gains in relevant.items() if max(gains.values()) > 0
    ]
    if not questions:
        raise InvalidRequest(f"{judging}: no query has a relevant document (a score above 0): nothing can be measured")
    return DataSet(folder.name, list(documents.values()), questions)


def own_folder(folder: Path) -> DataSet:
    """All files of the folder that are not hidden, and what its `questions.jsonl` asks about them.

    A line is `{"question": "…", "relevant": ["a.pdf", "below/b.md"]}` with paths from the folder. Raises
    InvalidRequest.
    """
    file = folder / QUESTION_FILE
    documents = {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != file and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    questions = []
    for line, row in _rows(file):
        text = _text(row, "question", file, line)
        names = row.get("relevant")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise InvalidRequest(f"{file}, line {line}: relevant: expected a list of at least one name of a file")
        for name in names:
            if name not in documents:
                raise InvalidRequest(
                    f"{file}, line {line}: relevant: there is no file '{name}' in {folder}: write its path from there"
                )
        questions.append(Asked(text, dict.fromkeys(names, 1), folder.name))
    return DataSet(folder.name, [Document(key, key, path=path) for key, path in documents.items()], questions)


def _paragraphs(folder: Path, language: str) -> Iterator[tuple[str, str, Any]]:
    """Number of each paragraph (the same in all languages), title of its article, and itself."""
    file = folder / f"xquad.{language}.json"
    try:
        articles = json.loads(file.read_text(encoding="utf-8"))["data"]
        found = [(article["title"], paragraph) for article in articles for paragraph in article["paragraphs"]]
    except FileNotFoundError:
        raise InvalidRequest(f"{file} is missing: download it, or choose another language") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{file} is not a file of XQuAD ({type(error).__name__}): download it again") from error
    for number, (title, paragraph) in enumerate(found, start=1):
        yield str(number), str(title).replace("_", " "), paragraph


def _judging(folder: Path) -> Path:
    files = sorted((folder / "qrels").glob("*.tsv"))
    if len(files) == 1:
        return files[0]
    if folder / "qrels" / "test.tsv" in files:
        return folder / "qrels" / "test.tsv"
    raise InvalidRequest(
        f"{folder / 'qrels'}: expected test.tsv, or one file *.tsv, with query-id, corpus-id and score"
    )


def _judgements(file: Path) -> Iterator[tuple[int, str, str, int]]:
    """Line, query, document and relevance; the first line is a heading."""
    with file.open(encoding="utf-8", newline="") as stream:
        for line, row in enumerate(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
            if line == 1 or not row:
                continue
            try:
                query, key, gain = row
                yield line, query, key, int(gain)
            except ValueError:
                raise InvalidRequest(
                    f"{file}, line {line}: expected query-id, corpus-id and a whole number, between tabs"
                ) from None


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file with one in each line; at least one."""
    found = False
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    found = True
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise InvalidRequest(f"{file}, line {number}: expected an object {{…}}")
                    yield number, row
    except json.JSONDecodeError:
        raise InvalidRequest(f"{file}, line {number}: this is not JSON; write one object in each line") from None
    except (OSError, UnicodeDecodeError):
        raise InvalidRequest(
            f"{file} cannot be read: it has to be a text in UTF-8, with one object in each line"
        ) from None
    if not found:
        raise InvalidRequest(f"{file} is empty: write one object in each line")


def _text(row: Mapping[str, Any], name: str, file: Path, line: int, *, blank: bool = False) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not (blank or value.strip()):
        raise InvalidRequest(f"{file}, line {line}: {name}: expected a text")
    return value.replace("\x00", " ")
