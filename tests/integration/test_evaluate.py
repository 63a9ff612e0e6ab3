# SPDX-License-Identifier: AGPL-3.0-or-later
"""`context-chat evaluate` on small data sets, with the real program and an embedder that costs nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from context_chat_backend import config
from context_chat_backend.cli.app import app
from context_chat_backend.config import Config
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.evaluation import datasets
from context_chat_backend.evaluation.configurations import parse
from context_chat_backend.evaluation.run import Measured, evaluate
from context_chat_backend.settings import ModelChoice


def lines(*objects: object) -> str:
    return "".join(f"{json.dumps(each)}\n" for each in objects)


@pytest.fixture
def settings(storage: Path) -> Config:
    (storage / "config.yaml").write_text("embedding:\n  hashing:\n", encoding="utf-8")
    return config.load({"APP_PERSISTENT_STORAGE": str(storage)}, cores=2)


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    texts = {"hens": "Hens lay eggs in the barn.", "lease": "The lease of the barn ends in May.", "sea": "Ships sail."}
    (folder / "corpus.jsonl").write_text(
        lines(*({"_id": key, "title": "", "text": text} for key, text in texts.items()), {"_id": "void", "text": ""})
    )
    asked = {"q1": "Which animals lay eggs?", "q2": "When does the lease end?", "q3": "What about void?"}
    (folder / "queries.jsonl").write_text(lines(*({"_id": key, "text": text} for key, text in asked.items())))
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\thens\t2\nq2\tlease\t1\nq2\thens\t0\nq3\tvoid\t1\n"
    )
    return folder


def first_found(measured: Measured) -> list[str]:
    return [ranking.keys[0] if ranking.keys else "" for ranking in measured.rankings]


async def test_every_configuration_is_asked_every_question_of_a_beir_folder(settings: Config, beir: Path) -> None:
    names = ["hybrid", "words", "vectors", "ranks"]

    measured = await evaluate(settings, datasets.read(beir), [parse(name) for name in names])

    assert [each.configuration.name for each in measured] == names
    for each in measured:
        assert first_found(each)[:2] == ["hens", "lease"]
        assert all("void" not in ranking.keys for ranking in each.rankings)
        assert each.rejected == 0


async def test_a_folder_of_ones_own_is_parsed_as_when_it_is_indexed_and_what_cannot_be_is_counted(
    settings: Config, tmp_path: Path
) -> None:
    (tmp_path / "notes.md").write_text("# Barn\n\nThe lease ends in May.")
    (tmp_path / "page.html").write_text("<html><body><p>Hens lay <b>eggs</b>.</p></body></html>")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "questions.jsonl").write_text(
        lines({"question": "When does the lease end?", "relevant": ["notes.md"]},
              {"question": "eggs", "relevant": ["page.html"]},
              {"question": "What is empty?", "relevant": ["empty.txt"]})
    )  # fmt: skip

    (measured,) = await evaluate(settings, datasets.read(tmp_path), [parse("hybrid")])

    assert first_found(measured)[:2] == ["notes.md", "page.html"]
    assert all("empty.txt" not in ranking.keys for ranking in measured.rankings)
    assert measured.rejected == 1


async def test_titles_and_compounds_are_levers(settings: Config, tmp_path: Path) -> None:
    (tmp_path / "Kündigung.txt").write_text("Die Frist beträgt drei Monate und gilt für beide Seiten des Vertrages.")
    (tmp_path / "b.txt").write_text("Die Versicherungspolice liegt im Schrank neben der Tür bei den anderen Papieren.")
    (tmp_path / "questions.jsonl").write_text(
        lines({"question": "Was steht zur Kündigung?", "relevant": ["Kündigung.txt"]},
              {"question": "Welche Police haben wir unterschrieben?", "relevant": ["b.txt"]})
    )  # fmt: skip

    names = ["words", "words+untitled", "words+uncompounded", "words"]
    whole, untitled, uncompounded, again = await evaluate(
        settings, datasets.read(tmp_path), [parse(name) for name in names]
    )

    assert whole.rankings[0].keys[0] == "Kündigung.txt"
    assert untitled.rankings[0].keys != whole.rankings[0].keys
    assert whole.rankings[1].keys[0] == "b.txt"
    assert uncompounded.rankings[1].keys != whole.rankings[1].keys
    assert again == whole


async def test_a_kept_index_is_used_again_for_the_same_documents_only(
    settings: Config, beir: Path, module_storage: Path
) -> None:
    told: list[str] = []

    async def run(folder: Path) -> Measured:
        told.clear()
        data = datasets.read(folder)
        (measured,) = await evaluate(
            settings,
            data,
            [parse("hybrid")],
            storage=module_storage,
            told=lambda what, _done, _all: told.append(what),
        )
        return measured

    first = await run(beir)
    assert "indexing" in told
    second = await run(beir)
    assert "indexing" not in told
    assert second == first
    with (beir / "corpus.jsonl").open("a") as corpus:
        corpus.write(lines({"_id": "more", "title": "", "text": "Eggs, eggs, eggs: which animals lay eggs?"}))
    third = await run(beir)
    assert "indexing" in told
    assert third.rankings[0].keys[0] == "more"


async def test_configurations_that_cannot_be_are_refused_before_anything_is_indexed(
    settings: Config, beir: Path
) -> None:
    data = datasets.read(beir)
    with pytest.raises(InvalidRequest, match="precisions are of the packaged model"):
        await evaluate(settings, data, [parse("hybrid"), parse("vectors+fp32")])
    with pytest.raises(InvalidRequest, match="chooses no re-ranker"):
        await evaluate(settings, data, [parse("hybrid+unranked")])
    custom = replace(settings, embedding=ModelChoice("onnx", {"model": "somewhere"}))
    with pytest.raises(InvalidRequest, match="precisions are of the packaged model"):
        await evaluate(custom, data, [parse("vectors+int8")])


def run_command(monkeypatch: pytest.MonkeyPatch, settings: Config, *arguments: str) -> Any:
    monkeypatch.setattr("context_chat_backend.cli.evaluate.read_configuration", lambda quiet: settings)
    return CliRunner().invoke(app, ["evaluate", *arguments], env={"COLUMNS": "200"})


def test_the_command_prints_json(monkeypatch: pytest.MonkeyPatch, settings: Config, beir: Path) -> None:
    done = run_command(monkeypatch, settings, str(beir), "--json", "-c", "hybrid", "-c", "words", "-c", "words")

    assert done.exit_code == 0
    told = json.loads(done.stdout.splitlines()[-1])  # before it stand lines of the log
    assert [row["configuration"] for row in told["rows"]] == ["hybrid", "words"]
    for row in told["rows"]:
        assert row["questions"] == 3
        assert row["recall@5"]["mean"] == pytest.approx(2 / 3, abs=1e-4)
        for measure in ("ndcg@10", "recall@5", "recall@20", "mrr"):
            assert row[measure]["low"] <= row[measure]["mean"] <= row[measure]["high"]


def test_the_command_prints_a_table(monkeypatch: pytest.MonkeyPatch, settings: Config, beir: Path) -> None:
    done = run_command(monkeypatch, settings, str(beir), "-c", "words")

    assert done.exit_code == 0
    assert "tiny: 3 documents" in done.stdout
    assert "66.7 (0.0" in done.stdout  # narrow terminals wrap what follows


def test_bad_input_ends_the_command_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, settings: Config, tmp_path: Path
) -> None:
    for arguments in ([str(tmp_path)], [str(tmp_path / "none")], [str(tmp_path), "-c", "hybird"]):
        done = run_command(monkeypatch, settings, *arguments)

        assert isinstance(done.exception, InvalidRequest)
