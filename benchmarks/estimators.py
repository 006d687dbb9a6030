"""The mean difference, estimated in other ways: see `benchmarks.strength`."""

import torch
from torch import Tensor

import langsteer
from benchmarks import variants
from langsteer.evaluation.demo import AFTER, BEFORE
from langsteer.fitting.options import pair_states
from langsteer.model.tokens import Prompt
from langsteer.states.capture import mean_states
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus

MASSIVE = 10  # numbers of a vector that are far larger than the rest
RIDGE = 0.1  # of the mean of the covariance's diagonal


def median(model: langsteer.Model, text: ParallelCorpus, vector: SteeringVector) -> Tensor:
    _, there, here = next(pair_states(model, text, [vector.layer], "mean"))
    return (there - here).median(0).values


def moderate(model: langsteer.Model, text: ParallelCorpus, vector: SteeringVector) -> Tensor:
    values = vector.values.clone()
    values[values.abs().topk(MASSIVE).indices] = 0.0
    return values


def whitened(model: langsteer.Model, text: ParallelCorpus, vector: SteeringVector) -> Tensor:
    _, _, here = next(pair_states(model, text, [vector.layer], "mean"))
    covariance = torch.cov(here.T)
    ridge = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
    values = torch.linalg.solve(covariance + ridge, vector.values.double())
    return values * vector.values.norm() / values.norm()


def in_place(model: langsteer.Model, text: ParallelCorpus, vector: SteeringVector) -> Tensor:
    there, here = (
        mean_states(
            model, [Prompt(line, BEFORE, AFTER) for line in text.texts[tag]], [vector.layer]
        ).mean[vector.layer]
        for tag in (text.pivot, text.language)
    )
    return there - here


def by_token(model: langsteer.Model, text: ParallelCorpus, vector: SteeringVector) -> Tensor:
    there, here = (
        variants.token_states(model, text.texts[tag], vector.layer).mean(0)
        for tag in (text.pivot, text.language)
    )
    return there - here


ESTIMATORS = {
    "median": median,
    "moderate": moderate,
    "whitened": whitened,
    "in_place": in_place,
    "by_token": by_token,
}
