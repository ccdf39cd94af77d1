"""What an experiment found: ``results.json`` for programs, ``report.md`` for people."""

from pathlib import Path
from typing import Any

import numpy as np

from bdjax import storage, telemetry
from bdjax.evaluation import (
    AucSummary,
    Table,
    auc,
    auc_cell,
    summarize_auc,
)
from bdjax.experiments import figures, reporting
from bdjax.experiments import findings as words
from bdjax.experiments.figures import VARIANT_NAMES, labelled_scores, saved_scores
from bdjax.experiments.mntd import Outcome, fit_config


def results(outcome: Outcome, clock: telemetry.Clock) -> dict[str, Any]:
    """Everything measured, ready for JSON.

    ``auc.<attack>.<variant>`` holds mean, std and interval; ``accuracy`` and ``asr``
    go by population; ``verdicts``, ``wall_seconds``, device and versions follow.
    """
    return {
        "findings": findings(outcome),
        "auc": {
            attack: {v: s.to_dict() for v, s in by_variant.items()}
            for attack, by_variant in aucs(outcome).items()
        },
        **reporting.qualities(outcome.populations),
        "controls": controls(outcome),
        "verdicts": verdicts(outcome),
        "validation_auc": {
            variant: fit.validation_auc_RxE[
                np.arange(len(fit.epoch_R)), fit.epoch_R
            ].tolist()
            for variant, fit in outcome.fits.items()
        },
        **reporting.machine(clock),
        "notes": outcome.notes,
        "config": outcome.config.semantic(),
    }


def aucs(outcome: Outcome) -> dict[str, dict[str, AucSummary]]:
    """AUC of benign against trojaned targets, by attack and variant."""
    return {
        attack: {
            variant: summarize_auc(
                *labelled_scores(scores, attack),
                confidence=outcome.config.bootstrap.confidence,
            )
            for variant, scores in outcome.scores.items()
        }
        for attack in outcome.config.population.target_attacks
    }


def controls(outcome: Outcome) -> dict[str, dict[str, float | None]]:
    """What the AUCs must be read beside, by attack.

    ``accuracy_alone`` is the AUC of the targets' error rate as a score: poisoning costs
    accuracy, above all in short training. ``successful`` and ``failed`` are jumbo
    MNTD's mean AUC on the trojaned targets with an ASR of at least .5, and below.
    """
    found: dict[str, dict[str, float | None]] = {}
    benign = np.asarray(outcome.populations["target-benign"].quality.accuracy)
    for attack in outcome.config.population.target_attacks:
        quality = outcome.populations[f"target-{attack}"].quality
        errors = 1 - np.concatenate([benign, np.asarray(quality.accuracy)])
        labels, scores_RxN = labelled_scores(outcome.scores["jumbo"], attack)
        worked = np.asarray(quality.asr) >= 0.5
        found[attack] = {"accuracy_alone": auc(labels, errors)}
        for name, chosen in (("successful", worked), ("failed", ~worked)):
            keep = np.concatenate([np.ones(len(benign), bool), chosen])
            found[attack][name] = (
                float(np.mean([auc(labels[keep], s[keep]) for s in scores_RxN]))
                if chosen.any()
                else None
            )
    return found


def verdicts(outcome: Outcome) -> dict[str, Any]:
    """What the saved detector says of the targets.

    ``targets`` are its verdicts by kind; the two rates are those of scores above its
    threshold, whatever is in doubt.
    """
    saved = saved_scores(outcome)
    share = {
        k: float((s > outcome.detector.threshold).mean()) for k, s in saved.items()
    }
    return {
        "threshold": outcome.detector.threshold,
        "grey": outcome.detector.calibration.grey,
        "references": outcome.detector.calibration.references,
        "targets": {k: reporting.tally(v) for k, v in outcome.verdicts.items()},
        "false_positive_rate": share.pop("benign"),
        "true_positive_rate": share,
    }


def findings(outcome: Outcome) -> list[str]:
    """What was found, and whether to trust it; a sentence each, see words."""
    config, populations, title = outcome.config, outcome.populations, "jumbo MNTD"
    attacks = config.population.target_attacks
    by_attack = {k: v["jumbo"] for k, v in aucs(outcome).items()}
    lines = [words.separation(title, by_attack, config.bootstrap.confidence)]
    alone = {k: float(v["accuracy_alone"] or 0) for k, v in controls(outcome).items()}
    lines += words.accuracy_alone(title, by_attack, alone)
    found = verdicts(outcome)
    tallies = found["targets"]
    lines += reporting.verdicts_found(
        "the saved detector", tallies["benign"], (tallies[a] for a in attacks)
    )
    counts = reporting.qualities(populations)["asr"]
    for role, kinds, fate in (
        ("target", attacks, "they count as trojaned all the same"),
        (
            "shadow",
            (config.population.shadow_attack,),
            "detectors learn from them, too",
        ),
    ):
        failures = {
            kind: (
                counts[f"{role}-{kind}"]["failed"],
                len(populations[f"{role}-{kind}"]),
            )
            for kind in kinds
        }
        lines += words.failed(f"{role}s", failures, 0.5, fate)
    names = [n for n in populations if not n.startswith("validation-")]
    accuracies = {reporting.plural(n): populations[n].quality.accuracy for n in names}
    lines += words.at_chance(accuracies, outcome.dataset.y[outcome.test_N])
    benign, *others = (len(populations[f"target-{k}"]) for k in ("benign", *attacks))
    return [*lines, *words.few(benign, sum(others))]


def tables(outcome: Outcome) -> list[Table]:
    """The tables that a run prints: AUCs, controls, verdicts, qualities."""
    auc_rows = [
        (attack, *(auc_cell(s) for s in by_variant.values()))
        for attack, by_variant in aucs(outcome).items()
    ]
    repeats = outcome.config.fit.repeats
    names = [VARIANT_NAMES[v] for v in outcome.config.variants]
    return [
        Table(
            title=f"Detection AUC: mean ± std of {repeats} repeats "
            f"[{outcome.config.bootstrap.confidence:.0%} interval over models]",
            columns=("target attack", *names),
            rows=tuple(auc_rows),
        ),
        _verdicts_table(outcome),
        _controls_table(outcome),
        reporting.quality_table(outcome.populations),
    ]


def _controls_table(outcome: Outcome) -> Table:
    rows = []
    for attack, control in controls(outcome).items():
        values = control["successful"], control["failed"], control["accuracy_alone"]
        rows.append((attack, *("" if v is None else f"{v:.3f}" for v in values)))
    return Table(
        title="AUC by success of the attack and of accuracy alone",
        columns=("target attack", "ASR ≥ .5", "ASR < .5", "accuracy alone"),
        rows=tuple(rows),
    )


def _verdicts_table(outcome: Outcome) -> Table:
    found = verdicts(outcome)
    above = {"benign": found["false_positive_rate"]} | found["true_positive_rate"]
    return Table(
        title="The saved detector's verdicts on targets in %",
        columns=(
            *("targets", "judged", "trojaned / inconclusive / not flagged"),
            f"score above {found['threshold']:.3g}",
        ),
        rows=tuple(
            (
                kind,
                str(t["models"]),
                reporting.tally_cell(t),
                f"{100 * above[kind]:.0f}",
            )
            for kind, t in found["targets"].items()
        ),
    )


def write(outcome: Outcome, workdir: Path, clock: telemetry.Clock) -> dict[str, Any]:
    """Writes figures, ``results.json`` and ``report.md``; returns the results."""
    with clock.phase("report"):
        drawn = figures.draw(outcome, workdir / "figures")
    found = results(outcome, clock)
    storage.write_json(workdir / "results.json", found)
    text = _markdown(outcome, found, drawn, workdir)
    (workdir / "report.md").write_text(text, encoding="utf-8")
    return found


def _markdown(
    outcome: Outcome, found: dict[str, Any], drawn: dict[str, Path], workdir: Path
) -> str:
    config = outcome.config
    fit = fit_config(config, "jumbo")
    lines = [
        f"# MNTD on {outcome.dataset.name}",
        "",
        *words.markdown(found["findings"]),
        f"{config.population.shadows} + {config.population.shadows} shadow models of "
        f"{config.shadow.recipe(config.data.defender).steps} steps on "
        f"{config.data.defender} examples; targets of "
        f"{config.target.recipe(config.data.attacker).steps} steps on "
        f"{config.data.attacker} examples of the attacker's own "
        f"(split: {config.data.split}). Each shadow draws its share of examples and "
        f"steps from [{1 - config.shadow.diversity:g}, 1]. Seed {config.seed}.",
        "",
        reporting.machine_line(found),
        "",
        f"Parity options: {_parity(outcome)}. Queries "
        f"{'are words, ' if fit.query_space == 'tokens' else ''}"
        f"{'clipped to the value range' if fit.clip else 'not clipped'}; "
        f"{fit.batch_size} shadow model(s) a meta-training step; the classifier reads "
        f"{fit.answers.replace('_', '-')} (one-class: logits).",
        "",
    ]
    for note in outcome.notes:
        lines += [f"**Note:** {note}.", ""]
    for table in tables(outcome):
        lines += [table.to_markdown(), ""]
    lines += reporting.figure_lines(drawn, workdir)
    return "\n".join(lines)


def _parity(outcome: Outcome) -> str:
    config = outcome.config
    on = {
        "split=official": config.data.split == "official",
        "locations=official": config.population.locations == "official",
        "clip=False": not config.fit.clip,
        "answers=logits": config.fit.answers == "logits",
        "query_dropout=True": config.fit.query_dropout,
        "shadow.poisoned_length=official": config.shadow.poisoned_length == "official",
        "target.poisoned_length=official": config.target.poisoned_length == "official",
    }
    return ", ".join(k for k, v in on.items() if v) or "none on"
