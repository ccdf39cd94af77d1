"""Reports of scans, made up: what they are rendered from in tests."""

import dataclasses
import math

import numpy as np

from bdjax.detectors import Finding
from bdjax.scanning import Candidate, Judgement, Preflight, Report
from bdjax.tnd.references import _built_in
from bdjax.verdicts import Calibration, Conclusion

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
    "truck",
)  # fmt: skip


def images(count=8, size=32, channels=3):
    """Soft blobs of colour, float32 ``[count, size, size, channels]`` in [0, 1]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    made = np.empty((count, size, size, channels), np.float32)
    for image in made:
        for c in range(channels):
            a, b, p, q = rng.uniform(1, 7, 4)
            image[..., c] = 0.5 + 0.3 * np.sin(a * x + p) * np.cos(b * y + q)
    return np.clip(made + rng.normal(0, 0.02, made.shape), 0, 1).astype(np.float32)


def trigger(size=32, channels=3):
    """A mask ``[size, size, 1]`` and a pattern ``[size, size, channels]``."""
    rng = np.random.default_rng(1)
    mask = rng.uniform(0, 0.04, (size, size, 1)).astype(np.float32)
    mask[-7:-2, -7:-2] = rng.uniform(0.8, 1, (5, 5, 1))
    pattern = rng.uniform(0, 1, (size, size, channels)).astype(np.float32)
    return mask, pattern


def finding(score, conclusion, calibration, *, target=None, shown=False, **changes):
    rng = np.random.default_rng(2)
    label_scores = rng.normal(0.3, 0.3, 10).astype(np.float32)
    if target is not None:
        label_scores[target] = score
    mask, pattern = trigger()
    fields = {
        "conclusion": conclusion,
        "threshold": calibration.threshold,
        "labels": np.arange(10),
        "label_scores": label_scores,
        "target": target,
        "artefacts": {},
        "seconds": 18.2,
    }
    if shown:  # as DL-TND keeps them: of all labels their success
        success = np.linspace(0.9, 0.99, 10)
        fields["artefacts"] = {"mask": mask, "pattern": pattern, "success": success}
    return Finding(0, score, **fields | changes)


def trojaned(**changes):
    """A CIFAR-10 network with a patch, found by one detector of the three that ran."""
    dl_tnd, df_tnd = _built_in("dl_tnd"), _built_in("df_tnd")
    fields = {
        "source": "models/resnet20.onnx",
        "kind": "ONNX",
        "facts": {
            "input": "32x32x3, NCHW", "classes": "10", "parameters": "272,474",
            "penultimate layer": "/Flatten_output_0", "answers": "logits",
        },
        "access": ("labels", "probabilities", "logits", "gradients", "features"),
        "conclusion": Conclusion.TROJANED,
        "target": 3,
        "classes": CLASSES,
        "preflight": Preflight(
            reading="CIFAR-10's mean and deviation, NCHW, RGB",
            images=40,
            candidates=(
                Candidate(
                    name="CIFAR-10's mean and deviation, NCHW, RGB",
                    accuracy=0.94,
                    confidence=0.93,
                ),
                Candidate(name="-1..1, NCHW, RGB", accuracy=0.85, confidence=0.84),
                Candidate(name="0..1, NCHW, RGB", accuracy=0.31, confidence=0.62),
                Candidate(name="0..255, NCHW, RGB", accuracy=0.10, confidence=0.99),
            ),
        ),
        "judgements": (
            Judgement(
                name="df_tnd", title="DF-TND", access="features",
                finding=finding(0.42, "benign", df_tnd), calibration=df_tnd,
                seconds=9.1,
            ),
            Judgement(
                name="dl_tnd", title="DL-TND", access="gradients",
                finding=finding(
                    4.21, "trojaned", dl_tnd, target=3, shown=True,
                    notes=("each class has one image",),
                ),
                calibration=dl_tnd, seconds=18.2,
            ),
            Judgement(
                name="mm_bd", title="MM-BD", access="logits",
                skipped="it has no benign references; name it to run it anyway",
            ),
            Judgement(
                name="mntd", title="MNTD", access="logits",
                skipped="it takes a detector fitted to the task; give --detector DIR",
            ),
        ),
        "images": images(),
        "images_given": 50,
        "seconds": 31.4,
        "seconds_to_first": 11.2,
        "peak_mib": 1312.0,
        "budget": 60.0,
        "seed": 0,
        "notes": ("the network's final softmax was left out",),
        "asked": 48_200,
        "versions": {"bdjax": "0.2.0", "jax": "0.10.2", "onnxruntime": "1.30.0"},
    }  # fmt: skip
    return Report(**fields | changes)


def not_flagged(**changes):
    """Nothing found; the reading was stated."""
    base = trojaned()
    dl_tnd = _built_in("dl_tnd")
    judged = dataclasses.replace(
        base.judgements[1],
        finding=finding(0.88, "benign", dl_tnd, shown=True),
    )
    preflight = dataclasses.replace(
        base.preflight, stated=True, candidates=base.preflight.candidates[:1]
    )
    fields = {
        "conclusion": Conclusion.NOT_FLAGGED,
        "target": None,
        "judgements": (base.judgements[0], judged, *base.judgements[2:]),
        "preflight": preflight,
        "notes": (),
    }
    return dataclasses.replace(base, **fields | changes)


def inconclusive(**changes):
    """Poor accuracy under every reading."""
    base = trojaned()
    preflight = Preflight(
        reading="0..1, NCHW, RGB",
        candidates=(
            Candidate(name="0..1, NCHW, RGB", accuracy=0.31, confidence=0.62),
            Candidate(name="-1..1, NCHW, RGB", accuracy=0.3, confidence=0.6),
        ),
        reasons=(
            "the network classifies 31% of the 50 given images right, below 50%, and "
            "none of the usual readings does better: check labels and their order, or "
            "state how images are prepared",
        ),
    )
    dl_tnd = _built_in("dl_tnd")
    judged = dataclasses.replace(
        base.judgements[1],
        finding=finding(
            2.6, "inconclusive", dl_tnd, target=3, shown=True,
            reasons=("the network classifies 31% of the 50 given images right",),
        ),
    )  # fmt: skip
    fields = {
        "conclusion": Conclusion.INCONCLUSIVE,
        "reasons": preflight.reasons,
        "target": None,
        "judgements": (judged, *base.judgements[2:]),
        "preflight": preflight,
        "notes": (),
    }
    return dataclasses.replace(base, **fields | changes)


def black_box(**changes):
    """An endpoint, no images, an own detector of its kind."""
    rng = np.random.default_rng(3)
    calibration = Calibration(
        rng.normal(0, 1, 40), 3.1, 2.2, "40 benign networks of one's own",
        regimes={"lenet": 30, "mlp": 10}, command="bdjax calibrate networks/",
    )  # fmt: skip
    said = Finding(0, 5.6, conclusion="trojaned", threshold=3.1, seconds=2.0)
    fields = {
        "source": "http://localhost:8000/predict",
        "kind": "HTTP endpoint",
        "facts": {"classes": "10", "answers": "probabilities"},
        "access": ("labels", "probabilities"),
        "target": None,
        "classes": (),
        "preflight": Preflight(
            reading="0..1, NHWC",
            notes=("no images were given: nothing tells whether this fits",),
        ),
        "judgements": (
            Judgement(
                name="mntd", title="MNTD", access="logits", finding=said,
                calibration=calibration, seconds=2.0,
            ),
            Judgement(
                name="dl_tnd", title="DL-TND", access="gradients",
                skipped="it needs gradients, and an HTTP endpoint only answers",
            ),
        ),
        "images": None,
        "images_given": 0,
        "seconds": 2.6,
        "seconds_to_first": 2.2,
        "budget": math.inf,
        "notes": (),
        "asked": 10,
    }  # fmt: skip
    return dataclasses.replace(trojaned(), **fields | changes)


def failed(**changes):
    """Nothing ran: the time was out."""
    fields = {
        "conclusion": Conclusion.INCONCLUSIVE,
        "reasons": ("no detector came to an end within the budget of 1 s",),
        "target": None,
        "judgements": (
            Judgement(
                name="dl_tnd", title="DL-TND", access="gradients",
                skipped="the budget of 1 s was spent after 12% of its steps",
                seconds=1.1,
            ),
        ),
        "seconds": 1.2,
        "seconds_to_first": math.nan,
        "budget": 1.0,
        "notes": (),
    }  # fmt: skip
    return dataclasses.replace(trojaned(), **fields | changes)


MADE = {
    "trojaned": trojaned,
    "not_flagged": not_flagged,
    "inconclusive": inconclusive,
    "black_box": black_box,
    "failed": failed,
}
