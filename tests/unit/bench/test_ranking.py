"""Ranks, standings and duels on tables small enough to reckon by hand."""

from __future__ import annotations

import pytest

from tests.bench.models import ranking


def test_the_greatest_score_is_first_where_greater_is_better() -> None:
    scores = {"a": 0.9, "b": 0.7, "c": 0.8}
    assert ranking.ranks(scores, greater_is_better=True) == {"a": 1, "b": 3, "c": 2}
    assert ranking.ranks(scores, greater_is_better=False) == {"a": 3, "b": 1, "c": 2}


def test_scores_that_agree_to_four_decimals_share_the_mean_of_their_places() -> None:
    scores = {"a": 0.90001, "b": 0.90002, "c": 0.8}
    assert ranking.ranks(scores, greater_is_better=True) == {"a": 1.5, "b": 1.5, "c": 3}


def test_who_fails_shares_the_last_places_whatever_the_others_scored() -> None:
    scores = {"a": None, "b": -50.0, "c": None}
    assert ranking.ranks(scores, greater_is_better=True) == {"a": 2.5, "b": 1, "c": 2.5}


def test_a_table_counts_once_however_many_splits_it_has() -> None:
    cases = {("t", 0): {"a": 1.0, "b": 2.0}, ("t", 1): {"a": 2.0, "b": 1.0}, ("u", 0): {"a": 1.0, "b": 2.0}}
    assert ranking.by_table(cases) == {"t": {"a": 1.5, "b": 1.5}, "u": {"a": 1.0, "b": 2.0}}


def test_only_cases_that_all_were_tried_on_are_ranked() -> None:
    cases = {("t", 0): {"a": 1.0, "b": None}, ("u", 0): {"a": 1.0}}
    assert list(ranking.complete(cases, ["a", "b"])) == [("t", 0)]


def test_standings_have_mean_ranks_wins_and_an_interval_around_them() -> None:
    tables = {str(i): {"a": 2.0, "b": 1.0} for i in range(3)} | {"last": {"a": 1.5, "b": 1.5}}
    found = ranking.standings(tables)
    assert list(found) == ["b", "a"]
    assert found["b"].mean_rank == pytest.approx(1.125)
    assert (found["b"].wins, found["a"].wins, found["a"].tables) == (4, 1, 4)
    assert 1.0 <= found["b"].low < 1.125 < found["b"].high <= 1.5


def test_nothing_ranked_has_no_standings() -> None:
    assert ranking.standings({}) == {}


def test_a_duel_counts_tables_and_says_how_sure_it_is() -> None:
    tables = {str(i): {"a": 1.0, "b": 3.0} for i in range(8)} | {
        "level": {"a": 2.0, "b": 2.0},
        "lost": {"a": 2.0, "b": 1.0},
    }
    found = ranking.duel(tables, "a", "b")
    assert (found.ahead, found.level, found.behind) == (8, 1, 1)
    assert found.difference == pytest.approx(-1.5)
    assert found.high < 0
    assert ranking.duel(tables, "b", "a").low == pytest.approx(-found.high, abs=0.2)


def test_an_interval_of_one_table_is_no_wider_than_the_table() -> None:
    found = ranking.standings({"t": {"a": 1.0, "b": 2.0}})
    assert (found["a"].low, found["a"].high) == (1.0, 1.0)
