# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of catalogues: what is wrong is said with its line and column, and nothing of such a file is taken."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from context_chat_backend.answering.planner.cards import pieces_of
from context_chat_backend.answering.planner.catalogue_files import read_instances, read_models, read_packages
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.store.model_cards import CardToEmbed
from samples import make_catalogues

ROOT = Path(__file__).resolve().parents[2]
HEAD = "id,provider,name,region,gpu_model,gpu_count,vram_gb,vcpu,ram_gb,price_monthly,price_source\n"
GOOD = "i1,aws,big,r1,X,2,48,8,32,730,test\n"


def written(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_what_follows_from_other_columns_is_filled_in(tmp_path: Path) -> None:
    (row,) = read_instances(written(tmp_path, "a.csv", f"# a remark\n\ufeff{HEAD}".replace("\ufeff", "") + GOOD))

    assert (row.vram_per_gpu_gb, row.price_hourly, row.currency) == (Decimal(24), Decimal("1.0000"), "USD")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + GOOD + "i2,aws,big2,r1,X,2,48,many,32,730,test\n", "line 3, column vcpu: expected a number"),
        (HEAD + "i1,,big,r1,X,2,48,8,32,730,test\n", "line 2, column provider: it is missing"),
        (HEAD + "i1,aws,big,r1,X,2,48,8,32,-1,test\n", "line 2, column price_monthly: expected a number from 0 on"),
        (HEAD + "i1,aws,big,r1,X,2,48,8,32,0,test\n", "line 2, column price_monthly: a price is above 0"),
        (HEAD + "i1,aws,big,r1,X,2,48,8,32,nan,test\n", "line 2, column price_monthly: expected a number"),
        (HEAD + "i1,aws,big,r1,X,0,48,8,32,1,test\n", "line 2, column vram_gb: GPUs and their memory"),
        (HEAD + "i1,aws,big,r1,X,1.5,48,8,32,1,test\n", "line 2, column gpu_count: expected a whole number"),
        (HEAD + GOOD + GOOD, "line 3, column id: the same stands in line 2"),
        (HEAD + GOOD + GOOD.replace("i1", "i2"), "line 3, column provider, name, region: the same stands in line 2"),
        (HEAD + '"i1,aws\n\nx",aws,big,r1,X,2,48,8,32\n', "line 2: expected 11 columns, found 9"),
        (HEAD + '"i1,aws', "line 2: "),
        (HEAD.replace("vcpu", "cpus") + GOOD, "line 2, column cpus: there is no such column"),
        (HEAD, "it holds no rows"),
        ("", "it holds no rows"),
        (HEAD.encode() + b"\n\xff\xfe", "line 3: this is not UTF-8"),
    ],
)
def test_what_is_wrong_in_a_csv_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_instances(written(tmp_path, "a.csv", text))
    assert said in str(caught.value)
    assert str(caught.value).startswith("a.csv")


PACKAGE = {"id": "p", "name": "mlflow", "version": "1"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{}", "line 1: expected a list of objects"),
        ("a.json", '[\n{"id": "p"},\n{]', "line 3, character 2"),
        ("a.json", "[1]", "line 1, expected an object"),
        ("a.json", '[\n{"id": "p", "name": "m", "version": "1"}\n{"id"', "line 3: expected a comma"),
        ("a.json", f"[{json.dumps(PACKAGE)}", "the list has no end"),
        ("a.json", f"[{json.dumps(PACKAGE)}] x", "the list has no end, or something stands after it"),
        ("a.jsonl", f"{json.dumps(PACKAGE)}\n\nnonsense", "line 3"),
        ("a.jsonl", json.dumps(PACKAGE | {"stars": "many"}), "line 1, column stars: expected a number"),
        ("a.jsonl", json.dumps(PACKAGE | {"name": "a\x00b"}), "line 1, column name: it holds a NUL"),
        ("a.jsonl", json.dumps(PACKAGE | {"keywords": 7}), "line 1, column keywords: expected a list"),
        ("a.jsonl", json.dumps(PACKAGE | {"official": "perhaps"}), "line 1, column official: expected true or false"),
        ("a.txt", "", "expected a file that ends in .csv, .json, .jsonl"),
    ],
)
def test_what_is_wrong_in_json_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_packages(written(tmp_path, name, text))
    assert said in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"gone\.csv: it cannot be read"):
        read_models(tmp_path / "gone.csv")


def test_lists_may_be_texts_in_a_csv(tmp_path: Path) -> None:
    (row,) = read_packages(written(tmp_path, "a.csv", "id,name,version,keywords\np,mlflow,1,a; b;\n"))

    assert row.keywords == ("a", "b")


def test_the_samples_are_those_the_generator_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_catalogues, "FOLDER", tmp_path)
    make_catalogues.main()

    shipped = ROOT / "samples" / "catalogues"
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (shipped / file.name).read_bytes()
    machines = read_instances(shipped / "cloud_instances.csv")
    assert {row.price_source for row in machines} == {"sample"}
    assert any(
        row.provider == "aws" and row.region == "us-east-1" and row.vram_gb >= 40 and row.vcpu >= 16
        and row.ram_gb >= 64 and row.price_monthly is not None and row.price_monthly <= 5000
        for row in machines
    )  # fmt: skip
    models = read_models(shipped / "hf_models.jsonl")
    assert len({row.pipeline_tag for row in models}) == 12
    assert all(80 <= len(row.card.split()) <= 200 for row in models)


def card(text: str) -> CardToEmbed:
    return CardToEmbed("h", "lab/model", "text-generation", text)


def test_cards_are_cut_along_headings_then_by_length_with_the_model_before_each_piece() -> None:
    long = "".join(chr(97 + number % 26) for number in range(2000))
    pieces = pieces_of(card(f"---\nlicense: mit\n---\n# Use\n{long}\n## Limits\nfew\n"))

    assert all(piece.startswith("lab/model (text-generation)\n") for piece in pieces)
    texts: list[Any] = [piece.split("\n", 1)[1] for piece in pieces]
    assert "license" not in "".join(texts)
    assert texts[-1] == "## Limits\nfew"
    assert [len(text) for text in texts[:2]] == [800, 800]
    assert texts[0][-100:] == texts[1][:100]
    assert pieces_of(card("")) == ["lab/model (text-generation)"]
