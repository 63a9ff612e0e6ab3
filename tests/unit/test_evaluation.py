# SPDX-License-Identifier: AGPL-3.0-or-later
"""Measures, names of configurations, and data sets with whatever may be wrong in them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from context_chat_backend.errors import InvalidRequest
from context_chat_backend.evaluation import datasets
from context_chat_backend.evaluation.configurations import Index, Ranks, parse
from context_chat_backend.evaluation.measures import interval, measure, ndcg, recall, reciprocal_rank
from context_chat_backend.evaluation.report import as_json, rows
from context_chat_backend.evaluation.run import Measured, Ranking
from context_chat_backend.store.search import Weights


def test_a_perfect_ranking_is_worth_one_and_a_ranking_without_what_was_wanted_nothing() -> None:
    assert measure(("a", "b"), {"a": 1}) == (1.0, 1.0, 1.0, 1.0)
    assert measure(("b", "c"), {"a": 1}) == (0.0, 0.0, 0.0, 0.0)
    assert measure((), {"a": 1}) == (0.0, 0.0, 0.0, 0.0)


def test_gain_is_discounted_by_rank_and_graded_by_relevance() -> None:
    found = ndcg(("x", "a", "b"), {"a": 1, "b": 2, "c": 0})

    assert found == pytest.approx((1 / math.log2(3) + 2 / math.log2(4)) / (2 / math.log2(2) + 1 / math.log2(3)))


def test_what_stands_below_the_tenth_place_gains_nothing() -> None:
    ranking = [*(str(number) for number in range(10)), "a"]

    assert ndcg(ranking, {"a": 1}) == 0.0
    assert reciprocal_rank(ranking, {"a": 1}) == pytest.approx(1 / 11)


def test_recall_is_the_share_of_relevant_documents_and_irrelevant_judgements_do_not_count() -> None:
    relevant = {"a": 1, "b": 2, "c": 0}

    assert recall(("a", "c", "x"), relevant, 5) == 0.5
    assert recall(("x", "y", "a", "b"), relevant, 2) == 0.0


def test_the_interval_holds_the_mean_narrows_with_more_questions_and_is_the_same_every_time() -> None:
    few, many = interval([0.0, 1.0] * 20), interval([0.0, 1.0] * 2000)

    assert few.low < few.mean == 0.5 < few.high
    assert many.high - many.low < (few.high - few.low) / 5
    assert interval([0.0, 1.0] * 20) == few
    assert interval([0.25] * 10) == interval([0.25] * 10000)


def test_a_bootstrap_interval_is_as_wide_as_the_normal_one_of_many_questions() -> None:
    found = interval([0.0, 1.0] * 500)

    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(1000), rel=0.1)


@pytest.mark.parametrize(
    ("name", "weights", "index"),
    [
        ("hybrid", None, Index()),
        ("words", Weights(meaning=0.0), Index()),
        ("vectors+fp32", Weights(words=0.0), Index(quantised=False)),
        ("ranks:0.3:60", Ranks(meaning=0.3, k=60), Index()),
        ("scores:0.8+untitled", Weights(meaning=0.8), Index(titled=False)),
        ("hybrid+uncompounded+tokens:100:10", None, Index(compounds=False, chunk_tokens=100, chunk_overlap_tokens=10)),
    ],
)
def test_a_configuration_is_what_its_name_says(name: str, weights: Weights | Ranks | None, index: Index) -> None:
    configuration = parse(name)

    assert (configuration.name, configuration.weights, configuration.index) == (name, weights, index)


def test_quotation_marks_and_the_re_ranker_are_left_out_by_name() -> None:
    assert parse("hybrid+unquoted").quoted is False
    assert parse("hybrid+unranked").reranked is False
    assert parse("hybrid").quoted is parse("hybrid").reranked is True


@pytest.mark.parametrize(
    "name",
    ["", "hybird", "hybrid:1", "hybrid+", "hybrid+fp64", "hybrid+int8+fp32", "hybrid+untitled+untitled", "ranks:",
     "ranks:x", "ranks:-1", "ranks:nan", "ranks:1:2:3", "scores:inf", "hybrid+tokens", "hybrid+tokens:1:0",
     "hybrid+tokens:100:60", "hybrid+tokens:100:-2", "hybrid+tokens:100:10+tokens:200:20"],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"--configuration .*expected one of hybrid, words, vectors, ranks"):
        parse(name)


def lines(*objects: object) -> str:
    return "".join(f"{json.dumps(each)}\n" for each in objects)


def write_beir(folder: Path) -> None:
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text(
        lines({"_id": "d1", "title": "Lease/2024", "text": "Ends in May."}, {"_id": "d2", "title": "", "text": "Hens."})
    )
    (folder / "queries.jsonl").write_text(lines({"_id": "q1", "text": "When?"}, {"_id": "q2", "text": "What clucks?"}))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\n")


def test_a_beir_folder_is_read_with_its_graded_judgements(tmp_path: Path) -> None:
    write_beir(tmp_path)

    data = datasets.read(tmp_path)

    assert [(each.key, each.title, each.text) for each in data.documents] == [
        ("d1", "Lease 2024.txt", "Ends in May."),
        ("d2", "d2.txt", "Hens."),
    ]
    assert [(each.text, each.relevant) for each in data.questions] == [
        ("When?", {"d1": 2, "d2": 0}),
        ("What clucks?", {"d2": 1}),
    ]


def test_of_several_judgements_those_of_the_test_are_taken(tmp_path: Path) -> None:
    write_beir(tmp_path)
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\t1\n")

    assert len(datasets.read(tmp_path).questions) == 2


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq9\td1\t1\n", "line 2: query-id 'q9' is not in queries.jsonl"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td9\t1\n", "line 2: corpus-id 'd9' is not in corpus.jsonl"),
        (
            "qrels/test.tsv",
            "query-id\tcorpus-id\tscore\nq1\td1\tgood\n",
            "line 2: expected query-id, corpus-id and a w",
        ),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1 d1 1\n", "line 2: expected query-id, corpus-id and a whole"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t0\n", "no query has a relevant document"),
        ("qrels/test.tsv", "", "no query has a relevant document"),
        ("corpus.jsonl", "", "corpus.jsonl is empty"),
        ("corpus.jsonl", "not JSON\n", "corpus.jsonl, line 1: this is not JSON"),
        ("corpus.jsonl", "[1]\n", "corpus.jsonl, line 1: expected an object"),
        ("corpus.jsonl", '{"text": "no id"}\n', "corpus.jsonl, line 1: _id: expected a text"),
        ("corpus.jsonl", '{"_id": "d1", "title": "a", "text": 5}\n', "corpus.jsonl, line 1: text: expected a text"),
        ("queries.jsonl", '{"_id": "q1", "text": " "}\n', "queries.jsonl, line 1: text: expected a text"),
        ("queries.jsonl", "", "queries.jsonl is empty"),
    ],
)
def test_what_is_wrong_in_a_beir_folder_is_named(tmp_path: Path, file: str, text: str, said: str) -> None:
    write_beir(tmp_path)
    (tmp_path / file).write_text(text)

    with pytest.raises(InvalidRequest, match=said):
        datasets.read(tmp_path)


@pytest.mark.parametrize("missing", ["queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file_of_a_beir_folder_is_named(tmp_path: Path, missing: str) -> None:
    write_beir(tmp_path)
    (tmp_path / missing).unlink()

    with pytest.raises(InvalidRequest, match=missing.partition("/")[0]):
        datasets.read(tmp_path)


def test_a_folder_of_ones_own_is_its_files_and_what_is_asked_about_them(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.md").write_text("B")
    (tmp_path / "a.txt").write_text("A")
    (tmp_path / ".hidden").write_text("H")
    (tmp_path / "questions.jsonl").write_text(lines({"question": "B?", "relevant": ["below/b.md"]}) + "\n")

    data = datasets.read(tmp_path)

    assert [(each.key, each.path) for each in data.documents] == [
        ("a.txt", tmp_path / "a.txt"),
        ("below/b.md", tmp_path / "below" / "b.md"),
    ]
    assert [(each.text, each.relevant, each.group) for each in data.questions] == [
        ("B?", {"below/b.md": 1}, tmp_path.name)
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"question": "", "relevant": ["a.txt"]}, "line 1: question: expected a text"),
        ({"question": " \n", "relevant": ["a.txt"]}, "line 1: question: expected a text"),
        ({"relevant": ["a.txt"]}, "line 1: question: expected a text"),
        ({"question": "A?"}, "line 1: relevant: expected a list"),
        ({"question": "A?", "relevant": []}, "line 1: relevant: expected a list"),
        ({"question": "A?", "relevant": "a.txt"}, "line 1: relevant: expected a list"),
        ({"question": "A?", "relevant": ["a.txt", 5]}, "line 1: relevant: expected a list"),
        ({"question": "A?", "relevant": ["../a.txt"]}, "there is no file '../a.txt'"),
        ({"question": "A?", "relevant": ["questions.jsonl"]}, "there is no file 'questions.jsonl'"),
    ],
)
def test_what_is_wrong_in_a_question_file_is_named(tmp_path: Path, line: object, said: str) -> None:
    (tmp_path / "a.txt").write_text("A")
    (tmp_path / "questions.jsonl").write_text(lines(line))

    with pytest.raises(InvalidRequest, match=said):
        datasets.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00broken", b"\n\n"])
def test_a_question_file_without_questions_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "questions.jsonl").write_bytes(content)

    with pytest.raises(InvalidRequest, match=r"questions\.jsonl (is empty|cannot be read)"):
        datasets.read(tmp_path)


def write_xquad(folder: Path, *languages: str) -> None:
    for language in languages:
        paragraphs = [
            {"context": f"{language} one", "qas": [{"question": f"{language} first?"}]},
            {"context": f"{language} two", "qas": [{"question": f"{language} second?"}]},
        ]
        text = json.dumps({"data": [{"title": "An_Article", "paragraphs": paragraphs}]})
        (folder / f"xquad.{language}.json").write_text(text)


def test_a_question_is_answered_in_its_language_where_that_is_indexed_else_in_all_that_are(tmp_path: Path) -> None:
    write_xquad(tmp_path, "en", "de", "es")

    data = datasets.read(tmp_path, documents=["en", "de"], asked_in=["de", "es"])

    assert [each.key for each in data.documents] == ["en-1", "en-2", "de-1", "de-2"]
    assert [each.title for each in data.documents] == ["An Article 1.txt", "An Article 2.txt", "1.txt", "2.txt"]
    assert [(each.group, each.relevant) for each in data.questions] == [
        ("de", {"de-1": 1}),
        ("de", {"de-2": 1}),
        ("es", {"en-1": 1, "de-1": 1}),
        ("es", {"en-2": 1, "de-2": 1}),
    ]


def test_languages_of_xquad_that_are_not_there_are_named(tmp_path: Path) -> None:
    write_xquad(tmp_path, "en")

    with pytest.raises(InvalidRequest, match="--documents: there is no language 'xx', choose of en, de"):
        datasets.read(tmp_path, documents=["xx"])
    with pytest.raises(InvalidRequest, match=r"xquad\.zh\.json is missing"):
        datasets.read(tmp_path, asked_in=["zh"])
    (tmp_path / "xquad.en.json").write_text('{"data": 5}')
    with pytest.raises(InvalidRequest, match=r"xquad\.en\.json is not a file of XQuAD"):
        datasets.read(tmp_path)


def test_a_folder_that_is_no_data_set_is_refused_with_what_one_is(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="holds no data set: expected xquad"):
        datasets.read(tmp_path)
    with pytest.raises(InvalidRequest, match="is not a folder"):
        datasets.read(tmp_path / "missing")
    write_beir(tmp_path)
    with pytest.raises(InvalidRequest, match="--documents and --asked-in choose languages of XQuAD"):
        datasets.read(tmp_path, documents=["en"])


def test_a_report_compares_question_by_question_with_the_first_configuration(tmp_path: Path) -> None:
    write_beir(tmp_path)
    data = datasets.read(tmp_path)
    good = Measured(parse("hybrid"), [Ranking(("d1",), 0.9), Ranking(("d2",), 0.8)], rejected=0)
    bad = Measured(parse("words"), [Ranking(("d1",), 0.9), Ranking((), -1.0)], rejected=1)

    first, second = rows(data, [good, bad])

    assert first.measures["mrr"].mean == 1.0
    assert first.differences == {}
    assert second.measures["mrr"].mean == 0.5
    assert second.differences["mrr"].mean == -0.5
    told = as_json(data, [good, bad], [first, second])
    assert told["rejected"] == {"hybrid": 0, "words": 1}
    assert [row["configuration"] for row in told["rows"]] == ["hybrid", "words"]
    assert told["rows"][1]["difference"]["recall@5"]["mean"] == -0.5
    json.dumps(told)
