"""The mistakes rebuilt for docs/broken_metrics.md are mistakes, and the page comes from its template."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from certify.attacks.legacy.klom_plug_in import records
from certify.core.metrics import modified_entropy


@pytest.fixture(scope="module")
def broken(repo_root: Path) -> ModuleType:
    plan = importlib.util.spec_from_file_location("broken_code_benchmark", repo_root / "benchmarks" / "broken_code.py")
    module = importlib.util.module_from_spec(plan)
    sys.modules[plan.name] = module
    plan.loader.exec_module(module)
    yield module
    del sys.modules[plan.name]


def test_the_right_edge_is_lost(broken: ModuleType) -> None:
    one, two = np.array([[0.0], [1.0], [9.0]]), np.array([[0.0], [1.0], [2.0]])
    assert broken.klom_without_its_right_edge(one, two)[0] == pytest.approx(np.log(1.5), rel=0.1)  # 9 is in no bin
    assert records(one, two)[0] > 1  # a third of the margins are where no retrained model's is


def test_columns_do_not_depend_on_labels(broken: ModuleType) -> None:
    generator = np.random.default_rng(0)
    p, labels = generator.dirichlet(np.ones(5), size=60), np.arange(60) % 5
    other = generator.permutation(labels)
    np.testing.assert_array_equal(
        broken.modified_entropy_by_columns(p, labels), broken.modified_entropy_by_columns(p, other)
    )
    assert (modified_entropy(p, labels) != modified_entropy(p, other)).mean() > 0.5


def test_the_gate_is_upside_down(broken: ModuleType) -> None:
    generator = np.random.default_rng(1)
    trained, unseen = generator.normal(1.0, 1, size=(2, 500)), generator.normal(0, 1, size=500)
    assert broken.forgotten_against_retained_gate(*trained)  # nothing unlearned: all were trained on
    assert not broken.forgotten_against_retained_gate(unseen, trained[1])


def test_auc_counts_ties_half(broken: ModuleType) -> None:
    assert broken.auc(np.array([1.0, 2.0]), np.array([1.0, 0.0])) == (0.5 + 1 + 1 + 1) / 4


def test_rules_that_choose_on_what_they_score_alarm_too_often(broken: ModuleType) -> None:
    generator = np.random.default_rng(2)
    balanced = [generator.permutation(200) < 100 for _ in range(300)]
    coins = [generator.random(200) < 0.5 for _ in range(300)]
    for rule, runs, least in (
        (broken.best_threshold_alarm, balanced, 0.1),
        (broken.best_grid_alarm, coins, 0.2),
        (broken.best_clopper_pearson_alarm, balanced, 0.06),
        (broken.best_katz_alarm, balanced, 0.7),
    ):
        assert np.mean([rule(run, 0.05) for run in runs]) > least


def test_the_page_has_every_part_of_its_template(repo_root: Path) -> None:
    template = (repo_root / "benchmarks" / "broken_metrics.md.template").read_text(encoding="utf-8")
    page = (repo_root / "docs" / "broken_metrics.md").read_text(encoding="utf-8")
    assert "$" not in page
    for line in template.splitlines():
        if line and "$" not in line:
            assert line in page
