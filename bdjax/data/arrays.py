"""Vectors and series in an npz file, in whatever units; and what such a file holds."""

import dataclasses

import numpy as np

from bdjax.data.base import Dataset, Request
from bdjax.data.encode import imbalance_notes, min_max
from bdjax.data.npz import Announced, announced, load_npz
from bdjax.types import UserError


def load_scaled(request: Request, *, pool: bool = False) -> Dataset:
    """Loads an npz file of vectors or series and scales them to [0, 1].

    Each feature by the least and greatest of the training rows. Every step of a series
    ``(T,)`` is a feature; those of ``(T, C)`` share one scale a channel.

    Args:
        request: of examples ``(D,)``, or ``(T,)`` or ``(T, C)`` of a series.
        pool: both splits become training rows, for a new draw, since the file's own
            are few.

    Raises:
        UserError: as :func:`bdjax.data.npz.load_npz`.
    """
    dataset = load_npz(request)
    num_train = len(dataset.x) if pool else dataset.num_train
    notes = []
    if pool and num_train > dataset.num_train:
        notes.append(
            f"the file's {dataset.num_train} training and "
            f"{num_train - dataset.num_train} test rows are pooled, and all parts "
            "drawn afresh"
        )
    x, units, more = min_max(dataset.x, num_train)
    notes += [*more, *imbalance_notes(dataset.y[:num_train], dataset.num_classes)]
    return dataclasses.replace(
        dataset, x=x, num_train=num_train, units=units, notes=tuple(notes)
    )


def load_own(request: Request) -> Dataset:
    """Loads a user's npz file: images as they are, vectors and series scaled.

    The data set is called after the file. Raises as :func:`bdjax.data.npz.load_npz`.
    """
    request = request._replace(name=request.file("npz").stem)
    if len(request.shape) < 3:
        return load_scaled(request)
    dataset = load_npz(request)
    notes = imbalance_notes(dataset.y[: dataset.num_train], dataset.num_classes)
    return dataclasses.replace(dataset, notes=tuple(notes))


def describe(path: str | None) -> Announced:
    """What an npz file holds, from its headers and labels.

    Raises:
        UserError: it cannot be read, examples have no shape that a task could be made
            for, or labels are not ``0, 1, ... K - 1`` with K at least 2.
    """
    found = announced(path)
    present = np.unique(found.labels)
    if present[0] < 0:
        raise UserError(
            f"{path} holds label {present[0]}: number the classes 0, 1, 2, ..."
        )
    if len(present) < 2:
        raise UserError(
            f"{path} holds a single class, {present[0]}: a classifier needs two or more"
        )
    absent = np.flatnonzero(present != np.arange(len(present)))
    if absent.size:
        raise UserError(
            f"{path} has labels up to {present[-1]} but no row of class {absent[0]}: "
            "number the classes 0, 1, 2, ... without gaps"
        )
    return found
