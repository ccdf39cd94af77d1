"""``scores.csv``: one row a model, detector and repeat; all tables come from it.

An empty cell is unknown, repeat -1 is of no single repeat. Models that no detector was
asked about have a row with an empty detector.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bdjax.detectors import Detector, Finding
from bdjax.experiments.config import Experiment
from bdjax.population import Population
from bdjax.storage.files import write_bytes

COLUMNS = (
    *("population", "role", "attack", "architecture", "recipe", "id", "seed"),
    *("trojaned", "target", "trigger_kind", "trigger_size", "poisoning_rate"),
    *("accuracy", "asr", "loss", "holds"),
    *("detector", "title", "repeat", "score", "conclusion", "threshold"),
    *("top_label", "top_score", "label_scores", "named_target"),
    *("seconds", "reasons", "notes"),
)

Row = dict[str, Any]


def model_rows(population: Population, experiment: Experiment) -> list[Row]:
    """What is known of each model, in the order of the population.

    ``holds`` is 0 of those whose attack failed, where such ones are left out.
    """
    rows = []
    least = experiment.min_asr if experiment.failed_attacks == "left out" else None
    trojaned, recipe = population.is_trojaned, population.recipe
    for record in population.records():
        row = {
            "population": population.name,
            "role": population.role,
            "attack": population.attack.name,
            "architecture": population.network.name,
            "recipe": recipe.name if recipe else "",
            "id": record["id"],
            "seed": experiment.seed,
            "trojaned": int(trojaned),
            "accuracy": record["accuracy"],
            "loss": record["loss"],
            "holds": int(not trojaned or least is None or record["asr"] >= least),
        }
        if trojaned:
            row |= {
                "target": record["target"],
                "trigger_kind": record["description"].kind,
                "trigger_size": record["description"].size,
                "poisoning_rate": record["rate"],
                "asr": record["asr"],
            }
        rows.append(row)
    return rows


def finding_row(model: Row, detector: Detector, finding: Finding) -> Row:
    """A model's row with what a detector, or one repeat of it, found."""
    row = model | {
        "detector": detector.slug,
        "title": detector.title,
        "repeat": finding.repeat,
        "score": finding.score,
        "conclusion": finding.conclusion,
        "threshold": finding.threshold,
        "named_target": finding.target,
        "seconds": finding.seconds,
        "reasons": " | ".join(finding.reasons),
        "notes": " | ".join(finding.notes),
    }
    if finding.label_scores is not None and len(finding.label_scores):
        scores_K = np.asarray(finding.label_scores)
        labels_K = np.arange(len(scores_K))
        if finding.labels is not None:
            labels_K = np.asarray(finding.labels)
        pairs = zip(labels_K, scores_K, strict=True)
        row["label_scores"] = ";".join(
            f"{k}={'' if np.isnan(s) else s}" for k, s in pairs
        )
        tops = np.flatnonzero(scores_K == np.fmax.reduce(scores_K))
        if len(tops) == 1:  # in a tie, as of labels that none was reached, none is top
            (top,) = tops
            row |= {"top_label": int(labels_K[top]), "top_score": scores_K[top]}
    return row


def write(path: Path, rows: Iterable[Row]) -> None:
    """Writes the file, whole or not at all.

    Raises:
      UserError: it cannot be written.
    """
    # Of objects, every value is written as its shortest text: that of its precision.
    table = pd.DataFrame(list(rows), columns=COLUMNS, dtype=object)
    write_bytes(path, table.to_csv(index=False, lineterminator="\n").encode())
