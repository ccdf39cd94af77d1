"""One model as files that other tools read: safetensors, and JSON beside it.

Files hold variables and triggers as nested dicts, or leaves by their path.
"""

import functools
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bdjax import storage
from bdjax.attacks import Attack, Trigger, get_attack
from bdjax.models import Model
from bdjax.population.judge import Quality, contradiction
from bdjax.population.spec import Origin
from bdjax.tasks import get_task
from bdjax.types import PyTree, UserError, Variables

_SCHEMA = 2
_KIND = "bdjax model"
_FIELDS = {
    **dict.fromkeys(("population", "task", "architecture", "attack"), str),
    **dict.fromkeys(("id", "num_classes"), int),
    "input_shape": list,
    "recipe": dict,
}


def describe(origin: Origin) -> dict[str, Any]:
    """What the JSON of every model of a population says."""
    return {
        **storage.header(_SCHEMA, _KIND),
        "task": origin.task.name,
        "architecture": origin.network.name,
        "input_shape": list(origin.task.shape),
        "num_classes": origin.task.num_classes,
        "attack": origin.attack.name,
    }


def save_model(out: Path, about: dict[str, Any], model: PyTree) -> Path:
    """Writes one model and replaces an older file of the same one.

    Args:
      out: the directory.
      about: from :func:`describe`, with the model's ``id``, ``population``, ``recipe``.
      model: its part of a chunk.

    Returns:
      The safetensors file.

    Raises:
      UserError: another model has the name, or nothing can be written there.
    """
    path = out / f"model-{about['id']:05d}.safetensors"
    json = path.with_suffix(".json")
    if json.exists():
        old = _read_about(json)
        for name in ("population", "recipe"):
            if difference := storage.difference(name, old[name], about[name]):
                raise UserError(
                    f"{json} is another model: {difference}; choose another directory"
                )
    arrays = flat({**model["variables"], "trigger": model["triggers"]})
    # JSON knows no NaN.
    quality = {
        k: None if np.isnan(v) else v.item() for k, v in model["quality"].items()
    }
    crc32 = storage.save_tensors(path, arrays)
    storage.write_json(json, {**about, **quality, "crc32": crc32})
    return path


def load_model(path: str | os.PathLike[str]) -> tuple[Variables, dict[str, Any]]:
    """Reads a model that :func:`bdjax.population.export_models` wrote.

    Args:
      path: ``model-00017.safetensors``; the JSON must lie beside it.

    Returns:
      Its variables, nested dicts of NumPy arrays, bit for bit; and what is known of
      it: ``id``, ``trigger`` (nested dicts of arrays), ``loss``, ``accuracy``, ``asr``,
      and ``population``, ``task``, ``architecture``, ``attack``, ``recipe``,
      ``versions``, ``crc32``.

    Raises:
      UserError: a file is missing, damaged or of a newer bdjax, its task, attack or
        architecture is not known here, an array is not of the architecture, or the
        record contradicts the weights or itself.
    """
    path = Path(path).with_suffix(".safetensors")
    json = path.with_suffix(".json")
    about = _read_about(json)
    task = get_task(about["task"])
    here = {"input_shape": list(task.shape), "num_classes": task.num_classes}
    if difference := storage.difference(
        task.name, {name: about[name] for name in here}, here
    ):
        raise UserError(
            f"{json}: {difference.removesuffix(' asked')} here; import it with the "
            "bdjax that it is from"
        )
    locations = str(about["recipe"].get("locations", "all"))
    attack = get_attack(about["attack"], task=task, locations=locations)
    variables, triggers = _expected(task.network(about["architecture"]), attack)
    # Without a checksum, say after a change that was meant, the shapes must do.
    found = storage.load_tensors(path, crc32=about.get("crc32"))
    _check(path, about["architecture"], found, {**variables, **triggers})
    record = {
        "id": about["id"],
        "trigger": nested((name.partition(".")[2], found[name]) for name in triggers),
        **{k: _number(json, k, about.get(k)) for k in Quality._fields},
    }
    for name in (
        "population", "task", "architecture", "attack", "recipe", "versions", "crc32",
    ):  # fmt: skip
        record[name] = about.get(name)
    weights = nested((name, found[name]) for name in variables)
    known = {name: record[name] for name in Quality._fields}
    known["rate"] = record["trigger"]["rate"]
    one = jax.tree.map(lambda a: np.asarray(a)[None], (weights, known))
    if fault := contradiction(attack, one[0], **one[1]):
        raise UserError(
            f"{json}: the model {fault[1]}; mend the record, or leave the model out"
        )
    return weights, record


@functools.cache
def _expected(network: Model, attack: Attack) -> tuple[dict[str, Any], dict[str, Any]]:
    """Shapes and dtypes, by name, of the variables and the trigger of such a model."""
    variables = jax.eval_shape(network.init, jax.random.key(0))
    fields = flat(trigger_shape(attack))
    return flat(variables), {f"trigger.{name}": leaf for name, leaf in fields.items()}


def _check(
    path: Path, architecture: str, found: dict[str, Any], expected: dict[str, Any]
) -> None:
    for name in {**expected, **found}:
        if name not in found:
            raise UserError(f"{path} lacks {name}, which {architecture!r} has")
        if name not in expected:
            raise UserError(f"{path} holds {name}, which {architecture!r} has not")
        got, want = found[name], expected[name]
        if (got.shape, got.dtype) != (want.shape, want.dtype):
            raise UserError(
                f"{path}: {name} is {got.dtype} {got.shape}, and of {architecture!r} "
                f"it is {want.dtype} {want.shape}; this is another network"
            )


def _read_about(path: Path) -> dict[str, Any]:
    return storage.read_header(
        path, schema=_SCHEMA, kind=_KIND, fields=_FIELDS, fix="export it again"
    )


def _number(path: Path, name: str, value: Any) -> np.float32:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise UserError(f"{path}: {name} is {value!r}, no number; restore the file")
    return np.float32(math.nan if value is None else value)


def flat(tree: PyTree) -> dict[str, Any]:
    """Leaves by their path, such as ``params.conv1.kernel``."""
    leaves = jax.tree.leaves_with_path(tree)
    name = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {name(path): leaf for path, leaf in leaves}


def nested(leaves: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Nested dicts of leaves that go by their path."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves:
        *parents, name = path.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = leaf
    return tree


def trigger_dict(trigger: Trigger) -> dict[str, Any]:
    """One trigger, or stacked ones, as nested dicts; without the bank."""
    return nested(flat(trigger._replace(bank=())).items())


def trigger_from(attack: Attack, found: dict[str, Any]) -> Trigger:
    """What :func:`trigger_dict` made of a trigger of this attack.

    Raises:
      UserError: the attack draws triggers of another form.
    """
    leaves, names = flat(found), list(flat(trigger_shape(attack)))
    if set(names) != set(leaves):
        raise UserError(
            f"triggers have {sorted(leaves)}, and those of attack {attack.name!r} "
            f"{sorted(names)}; read them with the bdjax that wrote them"
        )
    structure = jax.tree.structure(trigger_shape(attack))
    return jax.tree.unflatten(structure, [leaves[name] for name in names])


@functools.cache
def trigger_shape(attack: Attack) -> Trigger:
    """Shapes of one trigger."""
    return jax.eval_shape(attack.sample, jax.eval_shape(lambda: jax.random.key(0)))
