"""Named configurations: what they say, their arguments, and a user's own files."""

import json

import pytest

from bdjax.detectors import get_detector
from bdjax.experiments import configurations, presets
from bdjax.experiments.config import models_of
from bdjax.experiments.configurations import load
from bdjax.mntd import FitConfig
from bdjax.tasks import get_task
from bdjax.types import UserError

NAMES = sorted(configurations.listed())
MNTD = [name for name in NAMES if name.startswith("mntd_")]
WITH_FULL = [name for name in MNTD if not name.startswith("mntd_mnist")]


def recipe_of(experiment, role):
    return experiment.zoo.of(role)[0].recipes[0]


def models_in(experiment):
    return {group.role: group.models for group in experiment.zoo.groups}


def test_the_list_says_what_each_is():
    listed = configurations.listed()
    assert {"mntd_mnist5k", "dltnd_mnist5k", "benchmark_mnist5k"} <= {*listed}
    assert all(listed.values())
    assert "common" not in listed
    assert listed["mntd_mnist5k"].endswith(" [:official, smoke]")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arg", ["", "smoke"])
def test_every_configuration_builds(name, arg):
    built = load(f"{name}:{arg}")
    zoo = built.zoo
    # ``npz`` has its name once the file is read.
    assert zoo.task == "npz" or get_task(zoo.task).sources[zoo.data.source]
    # As JSON holds it, and the same however often it is made.
    assert json.loads(json.dumps(models_of(built.to_dict()))) is not None
    assert load(f"{name}:{arg}") == built
    assert (built.fit.epochs == 2) is (arg == "smoke")
    assert all(get_detector(detector) for detector in built.detectors)


@pytest.mark.parametrize("name", MNTD)
def test_detectors_and_parity_of_mntd(name):
    built = load(name)
    assert built.detectors == ("mntd", "mntd_no_tuning", "mntd_one_class")
    official = load(f"{name}:official")
    assert official.zoo.data.split == official.zoo.locations == "official"
    assert official.fit == FitConfig(clip=False, answers="logits", query_dropout=True)
    assert recipe_of(official, "target").poisoned_length == "official"
    assert recipe_of(official, "shadow").diversity == 0
    both = load(f"{name}:smoke,official")
    assert both == load(f"{name}:official,smoke")
    assert models_in(both)["shadow"] == (4,)
    assert both.zoo.data.split == "official"


@pytest.mark.parametrize("name", WITH_FULL)
def test_full_is_the_papers_scale(name):
    built = load(f"{name}:full")
    assert models_in(built) == {
        "shadow": (2048,), "validation": (256,), "target": (256,),
    }  # fmt: skip
    assert built.fit == FitConfig()
    for role in ("shadow", "validation", "target"):
        recipe = recipe_of(built, role)
        assert recipe.epochs
        assert (recipe.steps, recipe.precision, recipe.diversity) == (0, "tf32", 0)


def test_the_default_is_what_it_was():
    built = load("mntd_mnist5k")
    assert models_in(built) == {"shadow": (64,), "validation": (16,), "target": (24,)}
    assert built.failed_attacks == "counted"
    assert (recipe_of(built, "shadow").steps, built.fit) == (150, FitConfig())
    tnd = load("dltnd_mnist5k")
    assert [group.counts for group in tnd.zoo.groups] == [
        {"benign": 9, "patch": 5, "blend": 4},
        {"benign": 12, "patch": 10, "blend": 8, "all_to_all": 4},
    ]
    assert tnd.detectors[:6] == presets.TND
    assert tnd.detectors[6:8] == ("dl_tnd:per_class=1", "dl_tnd_sparse:per_class=1")
    assert len(tnd.detectors) == 6 + 2 * 5
    ablation = load("dltnd_mnist5k:ablation")
    assert ablation.slow_models == 4
    assert {*presets.ABLATION} < {*ablation.detectors}


def test_the_benchmark_asks_all_detectors_about_all_attacks():
    built = load("benchmark_mnist5k")
    assert {"mntd", "dl_tnd", "accuracy"} <= {*built.detectors}
    assert set(models_in(built)) == {"shadow", "validation", "calibration", "target"}
    assert {"benign", "M", "B", "patch", "blend", "all_to_all"} <= {
        *built.zoo.of("target")[0].attacks
    }
    assert load("benchmark_mnist5k:smoke").min_asr == 0


def test_architectures_of_cifar10():
    assert load("dltnd_cifar10") == load("dltnd_cifar10:resnet18")
    vgg = load("dltnd_cifar10:vgg16")
    assert {group.networks for group in vgg.zoo.groups} == {("vgg16",)}
    assert {group.recipes[0].learning_rate for group in vgg.zoo.groups} == {0.05}
    thin = load("dltnd_cifar10:thin,smoke")
    assert thin.zoo.of("target")[0].networks == ("thin_resnet",)
    assert thin.solving.label_batch == 0
    assert recipe_of(thin, "target").steps == 3


def test_regimes_of_references_differ_in_seed():
    regimes = list(configurations.module("references").REGIMES)
    assert [load(f"references:{name}").seed for name in regimes] == [*range(14)]
    assert load("references") == load("references:mlp")
    assert recipe_of(load("references:mlp,smoke"), "target").steps == 40


def test_arguments_may_come_in_any_order():
    one, other = (load(f"mntd_tabular:{a}") for a in ("smoke,adult", "adult,smoke"))
    assert one == other
    assert (one.zoo.task, recipe_of(one, "shadow").steps) == ("adult", 5)
    with pytest.raises(UserError, match="both 'adult' and 'power'"):
        load("mntd_tabular:power,adult")


def test_mistakes_are_one_line(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("no Python")
    broken, empty, other = (tmp_path / f"{n}.py" for n in ("broken", "empty", "other"))
    broken.write_text("1 / 0\n")
    late, spelt = tmp_path / "late.py", tmp_path / "spelt.py"
    late.write_text(
        "from bdjax.population import Recipe\n"
        "def get_config(arguments):\n    return Recipe(step=30)\n"
    )
    spelt.write_text("\ndef get_config(:\n")
    empty.write_text("")
    other.write_text("def get_config(arguments):\n    return 3\n")
    for chosen, message in [
        ("mntd_mnist5k:tiny", r"unknown argument 'tiny'.*'smoke'"),
        ("mntd_mnist5k:smoke,tiny", r"unknown argument 'tiny'.*'smoke'"),
        ("nope", r"no configuration 'nope'; there are \['benchmark_mnist5k', "),
        ("", "no configuration ''"),
        (str(tmp_path), "no configuration '"),
        (str(text), r"text\.txt is no Python file"),
        (f"{broken}:smoke", r"broken\.py:1 fails with ZeroDivisionError: division"),
        (str(late), r"late\.py:3 fails with TypeError: .*unexpected keyword .*'step'"),
        (str(spelt), r"spelt\.py:2 fails with SyntaxError"),
        (f"{tmp_path}/nofile.py", r"no such file: .*nofile\.py; check the path"),
        ("mntd_mnist5", r"'mntd_mnist5'; did you mean 'mntd_mnist5k'\? There are"),
        (str(empty), r"empty\.py has no get_config\(\)"),
        (str(other), r"other\.py gives a int; it must be a bdjax"),
    ]:
        with pytest.raises(UserError, match=message) as error:
            load(chosen)
        assert "\n" not in str(error.value)


def test_a_file_of_the_users_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from bdjax.experiments import configurations\n"
        "from bdjax.experiments.overrides import change\n"
        "def get_config(arguments=''):\n"
        "    experiment = configurations.load(f'mntd_mnist5k:{arguments}')\n"
        "    return change(experiment, {'seed': 17})\n"
    )
    own = load(f"{file}:smoke")
    assert (own.seed, models_in(own)["shadow"]) == (17, (4,))


# Sweeps.


def test_a_sweep_adds_fits_to_fewer_shadows():
    smoke = load("mntd_mnist5k")
    assert presets.sweep(smoke).detectors == (
        *smoke.detectors,
        *(f"{name}:shadows={n}" for name in ("mntd", "mntd_no_tuning")
          for n in (8, 16, 32, 64)),
    )  # fmt: skip
    some = presets.sweep(smoke, (4, 128), ("mntd_one_class",), equal_steps=True)
    assert some.detectors == (
        *smoke.detectors, "mntd_one_class:shadows=4,equal_steps=true",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "names", "message"),
    [
        ((5,), ("mntd",), "size 5 is not half benign, half trojaned"),
        ((0,), ("mntd",), "size 0 is not half"),
        ((130,), ("mntd",), "size 130 is more than the 128 shadow models there are"),
        ((8, 8), ("mntd",), r"sizes are \[8, 8\]; name each once"),
        ((8,), ("mntd", "mntd"), "detectors are .*; name each once"),
        ((128,), ("mntd",), "a sweep of 128 shadow models adds no fit to the run's"),
    ],
)
def test_sizes_that_cannot_be_swept(sizes, names, message):
    with pytest.raises(UserError, match=message):
        presets.sweep(load("mntd_mnist5k"), sizes, names)
