"""What the pages show as whole files does what it says there; no link leads nowhere."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from bdjax.attacks import Role
from bdjax.experiments import Experiment, zoo
from bdjax.population import plan_one
from bdjax.tasks import get_task

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text("utf-8") for path in ROOT.glob("docs/*.md")}
PAGES["README.md"] = (ROOT / "README.md").read_text("utf-8")


def defined(page, name):
    """Runs the snippet that defines a function, and returns that."""
    snippets = re.findall(r"```python\n(.*?)```", PAGES[page], re.DOTALL)
    (code,) = [text for text in snippets if f"\ndef {name}(" in text]
    names = {}
    exec(code, names)
    return names[name]


def test_a_configuration_of_ones_own():
    experiment = defined("experiments.md", "get_config")("")
    assert isinstance(experiment, Experiment)
    names = {spec.name for spec, _ in zoo.specs(experiment)}
    assert {"shadow-jumbo-lenet", "shadow-benign-norm_net", "target-wanet"} <= names


def test_an_attack_of_ones_own():
    attack = defined("library.md", "attack")(get_task("mnist"))
    trigger = attack.sample(jax.random.key(0))
    x = np.zeros((2, 28, 28, 1), np.float32)
    assert np.asarray(attack.apply(trigger, x)).sum() == 2 * 28 * 0.5
    assert attack.describe(trigger).size == 28
    y = np.arange(100) % 10
    plan = plan_one(
        jax.random.key(1), np.arange(100), trigger.rate, 0.0,
        attack.eligible(trigger, y), steps=20, batch_size=20, copies=attack.max_copies,
    )  # fmt: skip
    poisoned = np.asarray(plan.row)[np.asarray(plan.role) == Role.POISON]
    assert len(poisoned)
    assert set(y[poisoned]) == {int(trigger.target)}


def anchors(page):
    """Of a page's headings, as GitHub and mkdocs both make them."""
    text = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    heads = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """That of the README, too, which mkdocs does not see."""
    folder = ROOT if page == "README.md" else ROOT / "docs"
    text = re.sub(r"```.*?```|`[^`]*`", "", PAGES[page], flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)]*)\)", text):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            assert not path or (folder / path).is_file(), link
            assert not anchor or anchor in anchors(Path(path or page).name), link


def test_every_page_is_in_the_contents():
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
    assert {*listed, "README.md"} == set(PAGES)
