"""What every detector in the registry keeps to, on networks that fit on a page."""

import dataclasses
import inspect

import jax
import numpy as np
import pytest
from page import CLASSES, DEFAULTS, REPEATS, networks, resources

from bdjax.detectors import DETECTORS, JOINT, Access, Group, Labelled, get_detector
from bdjax.types import UserError

QUICK = {"mm_bd": "mm_bd:steps=5,starts=3"}
NAMES = list(DETECTORS)


def make(name):
    return get_detector(QUICK.get(name, name), DEFAULTS)


TARGETS = networks(1, np.array([0, 1, 0, 1]))


def examine(detector, given=None, targets=TARGETS):
    given = resources() if given is None else given
    detector.check(given)
    detector.prepare(given)
    return list(detector.examine(targets, given))


@pytest.fixture(scope="module")
def findings():
    """Of every detector on the same networks."""
    return {name: examine(make(name)) for name in NAMES}


def scores(found):
    return np.array([each.score for each in found])


@pytest.mark.parametrize("name", NAMES)
def test_one_finding_a_network_and_repeat_in_order(findings, name):
    found = findings[name]
    repeats = [*range(REPEATS), JOINT] if name.startswith("mntd") else [JOINT]
    expected = [(id_, r) for id_ in TARGETS.ids_M.tolist() for r in repeats]
    assert [(each.id, each.repeat) for each in found] == expected
    assert np.isfinite(scores(found)).all()
    for each in found:
        assert type(each.id) is int
        assert type(each.score) is float
        assert each.seconds >= 0
        assert each.conclusion in ("", "trojaned", "benign", "inconclusive")
        assert bool(each.reasons) == (each.conclusion == "inconclusive")
        for array in each.artefacts.values():
            assert array.size
            assert array.dtype != object
        if each.labels is not None:
            assert each.labels.shape == each.label_scores.shape == (CLASSES,)
            assert each.score == pytest.approx(float(each.label_scores.max()))
        assert each.target is None or each.target in each.labels


@pytest.mark.parametrize("name", NAMES)
def test_a_score_does_not_depend_on_the_company(findings, name):
    found = examine(make(name), targets=TARGETS.take(np.array([2, 0])))
    by_id = {(each.id, each.repeat): each.score for each in findings[name]}
    expected = [by_id[each.id, each.repeat] for each in found]
    np.testing.assert_allclose(scores(found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_access_and_needs_are_all_it_takes(findings, name):
    detector = make(name)
    assert isinstance(detector.access, Access)
    given = {}
    if not detector.needs.shadows:
        given |= {"shadows": Labelled(), "validation": Labelled()}
    if not detector.needs.images_per_class:
        given |= {"x": None, "y": None}
    if not detector.needs.test_rows:
        given |= {"test_x": None, "test_y": None}
    assert given, "a detector that needs everything"
    found = examine(detector, resources(**given))
    np.testing.assert_allclose(scores(found), scores(findings[name]), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_needs_is_asked_for_in_one_line(name):
    detector = make(name)
    needs, nothing = detector.needs, resources(
        shadows=Labelled(), validation=Labelled(), x=None, y=None, test_x=None
    )  # fmt: skip
    if needs.text == "nothing":
        return
    if name == "linear_weights":  # which says it of each network
        assert "no benign and trojaned shadow" in examine(detector, nothing)[0].notes[0]
        return
    with pytest.raises(UserError, match=r"needed|needs") as caught:
        examine(detector, nothing)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_resumed_equals_uninterrupted(findings, name, tmp_path):
    detector, given = make(name), resources(directory=tmp_path)
    detector.check(given)
    detector.prepare(given)
    begun = detector.examine(TARGETS, given)
    first = next(begun)
    begun.close()
    assert first.score == pytest.approx(findings[name][0].score, rel=1e-5)
    # In a new process, which remembers nothing.
    again = resources(directory=tmp_path)
    found = examine(make(name), again)
    np.testing.assert_allclose(scores(found), scores(findings[name]), rtol=1e-5)
    assert [e.conclusion for e in found] == [e.conclusion for e in findings[name]]
    if detector.access not in (Access.LABELS, Access.WEIGHTS):  # which cost nothing
        assert any(tmp_path.iterdir())
    third = examine(make(name), resources(directory=tmp_path))
    np.testing.assert_array_equal(scores(third), scores(found))


@pytest.mark.parametrize("name", NAMES)
def test_what_was_made_from_something_else_is_refused(name, tmp_path):
    detector, given = make(name), resources(directory=tmp_path)
    detector.check(given)
    if detector.access in (Access.LABELS, Access.WEIGHTS):
        return
    with pytest.raises(UserError, match="seed") as caught:
        detector.check(resources(directory=tmp_path, seed=4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_networks_that_cannot_be_judged_end_nothing(findings, name):
    variables = jax.tree.map(np.copy, TARGETS.variables)
    layer = variables["params"]["logits"]
    layer["kernel"][1] = np.nan
    layer["kernel"][2] = 0  # an answer to all
    broken = dataclasses.replace(TARGETS, variables=variables)
    found = examine(make(name), targets=broken)
    assert [(e.id, e.repeat) for e in found] == [
        (e.id, e.repeat) for e in findings[name]
    ]
    for each, before in zip(found, findings[name], strict=True):
        if each.id in (10, 13):
            assert each.score == pytest.approx(before.score, rel=1e-4, abs=1e-5)
        elif each.id == 11:
            assert np.isnan(each.score)
            assert each.conclusion == "inconclusive"
        if np.isnan(each.score):
            assert each.notes[0].startswith("not judged: ")
            assert "\n" not in each.notes[0]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_told_and_named_once(name):
    detector = make(name)
    assert detector.name == name
    assert detector.title
    assert detector.needs.text
    assert hash(detector) == hash(make(name))
    assert not set(inspect.signature(type(detector).examine).parameters) - {
        "self", "networks", "resources",
    }  # fmt: skip
    shown = detector.shown(resources()) if name == "mntd" else {}
    assert all(array.dtype != object for array in shown.values())


def test_nobody_is_told_the_truth():
    fields = {f.name for f in dataclasses.fields(Group)}
    assert fields == {"name", "network", "variables", "ids_M", "digest"}


def test_slugs_are_file_names_of_their_own():
    texts = [
        *NAMES, "dl_tnd:per_class=1", "dl_tnd:per_class=1,score=sparse",
        "dl_tnd:score=sparse,quantile=0.1", "mntd:shadows=4", "mntd:shadows=6",
    ]  # fmt: skip
    slugs = [get_detector(text).slug for text in texts]
    assert len(set(slugs)) == len(slugs)
    assert not set("".join(slugs)) & set('/\\: *?"<>|')
    twice = get_detector("dl_tnd:per_class=1, score=sparse")
    assert twice == get_detector("dl_tnd:score=sparse,per_class=1")
    assert twice.title == "DL-TND (per_class=1, score=sparse)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dl_tnt", "'dl_tnt'; did you mean 'dl_tnd'? There"),
        ("dl_tnd:per_clas=1", "dl_tnd has no option 'per_clas'; it has"),
        ("dl_tnd:per_class=x", "dl_tnd: per_class is 'x'; it must be of type int"),
        ("dl_tnd:per_class=0", "per_class is 0; it must be at least 1"),
        ("dl_tnd:per_class", "option 'per_class' is not name=value"),
        ("dl_tnd:restarts=2,restarts=3", "restarts is given twice"),
        ("dl_tnd:early_exit=perhaps", "it must be true or false"),
        ("dl_tnd:mask=line", "mask is 'line'; there are"),
        ("mntd:epochs=0", "epochs is 0; it must be at least 1"),
        ("mntd:shadows=3", "shadows is 3, which is not half benign"),
        ("accuracy:rows=3", "accuracy has no option 'rows'; it has none"),
        ("mm_bd:steps=0", "steps is 0; it must be at least 1"),
    ],
)
def test_mistakes_are_one_line(text, message):
    with pytest.raises(UserError) as caught:
        get_detector(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
