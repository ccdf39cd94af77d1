"""A run directory made up: what experiments write, without a model."""

import csv
import json

import numpy as np

COLUMNS = (
    *("population", "role", "attack", "architecture", "recipe", "id", "seed"),
    *("trojaned", "target", "trigger_kind", "trigger_size", "poisoning_rate"),
    *("accuracy", "asr", "loss", "holds", "detector", "title", "repeat", "score"),
    *("conclusion", "threshold", "top_label", "top_score", "label_scores"),
    *("named_target", "seconds", "reasons", "notes"),
)
MODELS = {"shadow": 6, "calibration": 8, "target": 12}
ATTACKS = ("M", "blend")
DETECTORS = {
    "mntd": "jumbo MNTD",
    "dl_tnd-per_class=1": "DL-TND (per_class=1)",
    "dl_tnd-per_class=5": "DL-TND (per_class=5)",
    "mntd-shadows=32": "jumbo MNTD (shadows=32)",
    "mntd-shadows=64": "jumbo MNTD (shadows=64)",
    "mntd_no_tuning-shadows=32": "MNTD without query tuning (shadows=32)",
    "mntd_no_tuning-shadows=64": "MNTD without query tuning (shadows=64)",
    "df_tnd": "DF-TND",
    "accuracy": "accuracy alone",
}
EXPERIMENT = {
    "zoo": {"task": "mnist", "data": {"source": "tfds", "test": 400}},
    "detectors": list(DETECTORS),
    "seed": 0,
    "min_asr": 0.5,
    "false_alarms": 0.1,
    "confidence": 0.95,
    "quantiles": [0.25, 0.5],
}
FACTS = {
    "schema": 1,
    "notes": ["shadows were few"],
    "device": "1 x abacus",
    "wall_seconds": {"training": 12.0},
    "peak_memory_bytes": 2**30,
    "chance": 0.1,
    "test_examples": 500,
}


def make_run(directory, *, experiment=None, detectors=tuple(DETECTORS), artefacts=True):
    """Writes the three inputs of a report; the same ones every time."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = EXPERIMENT | {"detectors": list(detectors)} | (experiment or {})
    text = json.dumps(FACTS | {"experiment": settings})
    (directory / "experiment.json").write_text(text)
    rows = [*_rows(detectors, np.random.default_rng(0))]
    with open(directory / "scores.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    if artefacts:
        _artefacts(directory / "artefacts", rows, np.random.default_rng(1))
    return directory


def _rows(detectors, rng):
    for role, count in MODELS.items():
        for attack in ("benign", *ATTACKS):
            for i in range(count):
                model = _model(role, attack, i, rng)
                if role == "shadow":
                    yield model
                    continue
                for name in detectors:
                    yield from _findings(model, name, rng)


def _model(role, attack, i, rng):
    trojaned = attack != "benign"
    asr = rng.uniform(0.8, 1) if i != 1 or attack != "blend" else 0.2
    model = {
        "population": f"{role}-{attack}", "role": role, "attack": attack,
        "architecture": "mnist_cnn", "recipe": "", "id": i, "seed": 0,
        "trojaned": int(trojaned), "accuracy": rng.uniform(0.9, 1), "holds": 1,
        "loss": rng.uniform(0, 0.1),
    }  # fmt: skip
    if trojaned:
        size = 4 if attack == "M" and i % 2 else 9
        model |= {
            "target": i % 10, "trigger_kind": "patch" if attack == "M" else "blend",
            "trigger_size": size if attack == "M" else "", "poisoning_rate": 0.2,
            "asr": asr, "holds": int(asr >= 0.5),
        }  # fmt: skip
    return model


def _findings(model, name, rng):
    repeats = range(-1, 5) if name.startswith("mntd") else (-1,)
    strength = 0.5 if "no_tuning" in name or "df" in name else 2.0
    strength *= 2 if "64" in name else 1
    for repeat in repeats:
        score = strength * model["trojaned"] * model["holds"] + rng.normal()
        row = model | {
            "detector": name, "title": DETECTORS[name], "repeat": repeat,
            "score": score, "seconds": rng.uniform(1, 2) if repeat == -1 else "",
        }  # fmt: skip
        if name == "accuracy":
            row["score"] = 1 - model["accuracy"]
        elif repeat == -1:
            row |= {"threshold": 1.0, "conclusion": "benign"}
            if score > 1:
                row["conclusion"] = "trojaned"
            elif score > 0.6:
                row["conclusion"] = "inconclusive"
                row["reasons"] = f"the score lies in the grey zone, {score:.2f} | late"
        if name.startswith("dl_tnd"):
            labels = rng.normal(size=10)
            if model["trojaned"] and model["id"] % 4:
                labels[model["target"]] = 9.0
            top = int(labels.argmax())
            row |= {
                "top_label": top, "top_score": score,
                "named_target": top if score > 1 else "",
                "label_scores": ";".join(f"{k}={v:.4g}" for k, v in enumerate(labels)),
                "notes": "few images" if model["id"] == 0 else "",
            }  # fmt: skip
        if name == "df_tnd" and model["id"] == 3:
            row |= {
                "score": "nan", "conclusion": "inconclusive", "reasons": "",
                "notes": "not judged: constant logits",
            }  # fmt: skip
        yield row


def _artefacts(folder, rows, rng):
    (folder / "populations").mkdir(parents=True)
    seen = {}
    for row in rows:
        seen.setdefault(row["population"], {})[row["id"]] = row
        if row.get("detector", "").startswith("dl_tnd"):
            place = folder / row["detector"] / f"{row['population']}-{row['id']}.npz"
            place.parent.mkdir(exist_ok=True)
            mask, pattern = np.zeros((28, 28, 1)), rng.uniform(size=(28, 28, 1))
            mask[24:, 24:] = 1
            similarity = rng.uniform(-1, 1, (10, 9))
            if row["trojaned"]:
                similarity[row["target"]] = rng.uniform(0.8, 1, 9)
            np.savez(place, mask=mask, pattern=pattern, similarity=similarity)
        if row.get("detector", "") == "mntd":
            place = folder / "mntd" / "shown.npz"
            place.parent.mkdir(exist_ok=True)
            np.savez(place, queries=rng.uniform(size=(10, 28, 28, 1)))
    for name, models in seen.items():
        clean = rng.uniform(size=(min(8, len(models)), 28, 28, 1))
        triggered = clean.copy()
        if "benign" not in name:
            triggered[:, 24:, 22:] = 1.5 - triggered[:, 24:, 22:]
        np.savez(
            folder / "populations" / f"{name}.npz",
            x_clean=clean, x_triggered=triggered,
            mask=(triggered != clean).any(-1), ids=np.arange(len(clean)),
            text=np.array(["a trigger"] * len(clean)),
        )  # fmt: skip
