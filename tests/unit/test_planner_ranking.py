# SPDX-License-Identifier: AGPL-3.0-or-later
"""The order of what is offered: total, the same under ties, without prices, and whatever the locale."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from context_chat_backend.answering.planner.ranking import (
    instance_order,
    package_match,
    package_order,
    scored,
)
from context_chat_backend.domain.catalogues import Instance, Package
from context_chat_backend.store.model_cards import FoundModel

NAMES = st.sampled_from(["a", "B", "b", "ä", "Z", "z", "a-1", "a_1", "É", "zz"])
PRICES = st.none() | st.integers(1, 4).map(Decimal)


@st.composite
def instances(draw: st.DrawFn) -> list[Instance]:
    rows = draw(st.lists(st.tuples(NAMES, NAMES, NAMES, PRICES, st.integers(0, 3), st.integers(0, 2)), max_size=12))
    return [
        Instance(
            id=f"i{number}", provider=provider, name=name, region=region, gpu_model=None, gpu_count=count,
            vram_per_gpu_gb=Decimal(1), vram_gb=Decimal(vram), vcpu=1, ram_gb=Decimal(1), price_hourly=price,
            price_monthly=price, currency="USD", price_as_of=date(2025, 11, 1), price_source="test",
        )
        for number, (provider, name, region, price, vram, count) in enumerate(rows)
    ]  # fmt: skip


@given(rows=instances(), seed=st.integers())
def test_machines_have_one_order_however_they_come(rows: list[Instance], seed: int) -> None:
    mixed = random.Random(seed).sample(rows, len(rows))

    ordered = sorted(mixed, key=instance_order)

    assert ordered == sorted(rows, key=instance_order)
    assert len({instance_order(row) for row in rows}) == len(rows)
    priced = [row.price_monthly for row in ordered if row.price_monthly is not None]
    assert priced == sorted(priced)
    assert [row.price_monthly is None for row in ordered] == sorted(row.price_monthly is None for row in ordered)


@given(rows=instances())
def test_texts_are_ordered_by_their_bytes(rows: list[Instance]) -> None:
    for one, other in zip(sorted(rows, key=instance_order), sorted(rows, key=instance_order)[1:], strict=False):
        same = instance_order(one)[:4] == instance_order(other)[:4]
        if same:
            told = [[text.encode() for text in (row.provider, row.name, row.region, row.id)] for row in (one, other)]
            assert told[0] < told[1]


@st.composite
def packages(draw: st.DrawFn) -> list[Package]:
    words = st.sampled_from(["ml", "mlflow", "MLflow", "my-mlflow", "other", "tracks mlflow runs", "%", ""])
    rows = draw(st.lists(st.tuples(words, words, st.integers(0, 2), st.booleans()), max_size=12))
    return [
        Package(f"p{number}", name, "1", "", description, "", (), stars, official)
        for number, (name, description, stars, official) in enumerate(rows)
    ]


@given(rows=packages(), seed=st.integers(), query=st.sampled_from(["mlflow", "ML", "%", "runs"]))
def test_packages_have_one_order_and_their_match_is_their_first_rule(
    rows: list[Package], seed: int, query: str
) -> None:
    mixed = random.Random(seed).sample(rows, len(rows))

    ordered = sorted(mixed, key=lambda row: package_order(query, row))

    assert ordered == sorted(rows, key=lambda row: package_order(query, row))
    places = ["exact", "prefix", "name", "description", "text"]
    matches = [places.index(package_match(query, row)) for row in ordered]
    assert matches == sorted(matches)
    for row in ordered:
        if package_match(query, row) == "exact":
            assert row.name.lower() == query.lower()


@st.composite
def found(draw: st.DrawFn) -> list[FoundModel]:
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["a/x", "b/y", "c/z", "d/ä"]),
                st.floats(-1, 1),
                st.integers(0, 10**12),
                st.integers(0, 10**7),
            ),
            max_size=10,
        )
    )
    of: dict[str, tuple[int, int]] = {}
    return [
        FoundModel(id_, "t", "mit", *of.setdefault(id_, (downloads, likes)), None, similarity, "")
        for id_, similarity, downloads, likes in rows
    ]


@given(rows=found(), seed=st.integers())
def test_models_are_scored_by_the_formula_each_once_in_one_order(rows: list[FoundModel], seed: int) -> None:
    ranked = scored(random.Random(seed).sample(rows, len(rows)))

    assert [(one.model.model_id, one.score) for one in ranked] == [(o.model.model_id, o.score) for o in scored(rows)]
    assert len({one.model.model_id for one in ranked}) == len(ranked) == len({row.model_id for row in rows})
    for one in ranked:
        assert 0 <= one.relevance <= 1
        assert 0 <= one.popularity <= 1
        assert one.score == 0.6 * one.relevance + 0.4 * one.popularity
        assert one.relevance == max(0.0, max(r.similarity for r in rows if r.model_id == one.model.model_id))
    scores = [round(one.score, 9) for one in ranked]
    assert scores == sorted(scores, reverse=True)


def model(id_: str, **changes: Any) -> FoundModel:
    told = {"similarity": 0.5, "downloads": 10, "likes": 1} | changes
    return FoundModel(id_, "t", "mit", told["downloads"], told["likes"], None, told["similarity"], "")


def test_ties_go_by_relevance_then_downloads_then_name() -> None:
    assert [one.model.model_id for one in scored([model("b"), model("a"), model("c", similarity=0.9)])] == [
        "c",
        "a",
        "b",
    ]
    nothing = [model("b", downloads=0, likes=0), model("a", downloads=0, likes=0)]
    assert [(one.model.model_id, one.popularity) for one in scored(nothing)] == [("a", 0.0), ("b", 0.0)]
    nearly = [model("a", similarity=0.5), model("b", similarity=0.5 + 1e-12)]
    assert [one.model.model_id for one in scored(nearly)] == ["a", "b"]  # compared after nine digits
