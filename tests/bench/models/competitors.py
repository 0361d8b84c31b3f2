"""Who competes, with what installed, and started how."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Peer:
    """`environment`: its name, shared by peers that need the same `requirements`; `module`: below `peers/`;
    `versions_of`: the distributions whose versions are recorded; `takes_budget`: is it told one;
    `seconds`: what a fit is guessed to take where it is not."""

    name: str
    label: str
    environment: str
    requirements: tuple[str, ...]
    module: str
    versions_of: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    takes_budget: bool = True
    seconds: float = 0.0


_PLAIN = ("lightgbm", "scikit-learn", "pandas", "joblib")

PEERS = {
    peer.name: peer
    for peer in [
        Peer(
            name="lightgbm",
            label="LightGBM defaults",
            environment="defaults",
            requirements=_PLAIN,
            module="lightgbm_defaults",
            versions_of=("lightgbm",),
            takes_budget=False,
            seconds=5,
        ),
        Peer(
            name="hist-boosting",
            label="scikit-learn boosting defaults",
            environment="defaults",
            requirements=_PLAIN,
            module="sklearn_defaults",
            versions_of=("scikit-learn",),
            arguments=("boosting",),
            takes_budget=False,
            seconds=10,
        ),
        Peer(
            name="forest",
            label="scikit-learn forest defaults",
            environment="defaults",
            requirements=_PLAIN,
            module="sklearn_defaults",
            versions_of=("scikit-learn",),
            arguments=("forest",),
            takes_budget=False,
            seconds=10,
        ),
        Peer(
            name="lazypredict",
            label="lazypredict",
            environment="lazypredict",
            requirements=("lazypredict",),
            module="lazy",
            versions_of=("lazypredict", "scikit-learn"),
            takes_budget=False,
            seconds=100,
        ),
        Peer(
            name="flaml",
            label="FLAML",
            environment="flaml",
            requirements=("flaml[automl]",),
            module="flaml_automl",
            versions_of=("flaml", "lightgbm", "xgboost"),
        ),
        Peer(
            name="h2o",
            label="H2O AutoML",
            environment="h2o",
            requirements=("h2o", "pandas", "pyarrow"),
            module="h2o_automl",
            versions_of=("h2o",),
        ),
        Peer(
            name="autogluon",
            label="AutoGluon medium",
            environment="autogluon",
            # Torch by its version, so that a CPU build among pip's find-links is taken where there is one:
            # the registry's own brings gigabytes of GPU libraries.
            requirements=("torch==2.13.0", "autogluon.tabular[lightgbm,catboost,xgboost,fastai]"),
            module="autogluon_medium",
            versions_of=("autogluon.tabular", "lightgbm", "catboost", "xgboost-cpu", "torch", "fastai"),
        ),
    ]
}

OURS = "trainyard"
LABELS = {OURS: "Trainyard"} | {peer.name: peer.label for peer in PEERS.values()}
"""Every competitor, in the order of the report's columns."""


def chosen(names: str | None) -> list[Peer]:
    """The peers named (separated by commas or spaces); all for None, none for an empty string.

    Raises KeyError for one there is not.
    """
    if names is None:
        return list(PEERS.values())
    return [PEERS[name] for name in names.replace(",", " ").split()]
