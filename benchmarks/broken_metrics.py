"""Scores that public code reports, where nothing was left to find, beside ours: writes docs/broken_metrics.md.

    .venv/bin/python benchmarks/broken_metrics.py [--models 64] [--output docs/broken_metrics.md]

A few minutes on two cores. Everything is drawn from fixed seeds; another torch may change the last digits of what the networks say.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Template

import numpy as np
import torch
from broken_code import (
    auc,
    best_clopper_pearson_alarm,
    best_grid_alarm,
    best_katz_alarm,
    best_threshold_alarm,
    forgotten_against_retained_gate,
    klom_without_its_right_edge,
    modified_entropy_by_columns,
)
from digits_fleet import FORGOTTEN, MISLABELLED, RECORDS, Fleet, fleet
from scipy import stats

from certify.attacks.distances import function_distances, klom_per_record, weight_distances
from certify.attacks.epsilon import epsilon_lower_bound
from certify.attacks.legacy import (
    against_null,
    forgetting_quality,
    mia_efficacy,
    plug_in_epsilon,
    values_against_null,
)
from certify.attacks.legacy.neurips_2023 import epsilons
from certify.attacks.statistics.bands import epsilon_over_thresholds
from certify.core.metrics import modified_entropy
from certify.core.progress import track
from certify.core.streams import stream

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE / "broken_metrics.md.template"
TITLES = {"again": "exactly retrained", "original": "nothing unlearned", "over": "wrong labels taught"}
ALPHA = 0.05
Rule = Callable[[np.ndarray, float], bool]
SPLITS = 60
RECORDS_OF_COMPETITION = 8
"""Of the forgotten ones: its score takes long."""


def table(head: list[str], rows: list[list[object]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def share(alarms: list[bool]) -> str:
    """Percentage, with the exact interval of the simulation."""
    found = stats.binomtest(int(np.sum(alarms)), len(alarms)).proportion_ci(0.95, "exact")
    return f"{100 * np.mean(alarms):.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def splits(values: np.ndarray, name: str, count: int = SPLITS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Honest retrained models, two disjoint random quarters at a time: one in the unlearned models' place."""
    generator, size = stream(0, name), len(values) // 4
    for _ in range(count):
        order = generator.permutation(len(values))
        yield values[order[:size]], values[order[size : 2 * size]]


def competition(of: Fleet) -> str:
    """The forgetting score of the competition."""
    rows: list[list[object]] = []
    for models in (64, 256):
        generator = stream(models, "competition")
        one, two = generator.normal(size=(2, models, 40))
        rows.append(
            [
                f"two equal Gaussians, {models} models each",
                f"{forgetting_quality(one, two):.2f}",
                f"{epsilons(one, two).mean():.2f}",
            ]
        )
    for world, title in TITLES.items():
        pair = of.phi(world, "forget"), of.phi("retrained", "forget")
        rows.append([f"digits, {title}", f"{forgetting_quality(*pair):.2f}", f"{epsilons(*pair).mean():.2f}"])
    return table(["unlearned models", "forgetting score (ideal 1)", "mean epsilon (ideal 0)"], rows)


def competition_ours(of: Fleet, retrained: np.ndarray) -> dict[str, str]:
    """The same score against its null."""
    few = slice(0, RECORDS_OF_COMPETITION)
    alarms = [
        against_null(forgetting_quality, one[:, few], two[:, few], draws=99, seed=run).p_value <= ALPHA
        for run, (one, two) in enumerate(track(list(splits(retrained, "competition")), "competition"))
    ]
    worlds = (of.phi(world, "forget")[:, few] for world in ("original", "retrained", "again"))
    found = against_null(forgetting_quality, *worlds, draws=99, published_ideal=1.0)
    return {
        "competition_alarms": share(alarms),
        "competition_value": f"{found.value:.2f}",
        "competition_null": f"{found.mean_null:.2f}",
        "competition_p": f"{found.p_value:.2g}",
    }


def klom() -> str:
    """Bias under the null, by the number of models."""
    rows = []
    for models in (50, 100, 200, 1000):
        generator = stream(models, "klom")
        one, two = generator.normal(size=(2, models, 200))
        ours = klom_per_record(one, two, draws=199)
        rows.append(
            [
                models,
                f"{klom_without_its_right_edge(one, two).mean():.2f}",
                f"{ours.mean_excess:+.4f}",
                f"{100 * np.mean(ours.p_values <= ALPHA):.1f} %",
                int(ours.flagged.sum()),
            ]
        )
    head = [
        "models each",
        "public code, mean (ideal 0)",
        "ours: mean excess",
        "ours: records with p <= 5 %",
        "flagged at 5 %, of 200",
    ]
    return table(head, rows)


def epsilon() -> str:
    """Plug-in epsilon without a leak."""
    rows = []
    for trials in (100, 1000, 20000):
        generator = stream(trials, "epsilon")
        plain, bounds = [], []
        for _ in range(300):
            one, two = generator.normal(size=(2, trials))
            plain.append(plug_in_epsilon(one, two))
            bounds.append(_held_out_bound(one, two))
        rows.append([f"{trials:,}", f"{np.mean(plain):.2f}", share([value > 0 for value in bounds])])
    return table(["trials a world", "public code: mean epsilon (truth 0)", "ours: bound above 0 (allowed: 5 %)"], rows)


def _held_out_bound(one: np.ndarray, two: np.ndarray) -> float:
    """The threshold from one half of the trials, the bound from the other."""
    half = len(one) // 2
    thresholds = np.concatenate([one[:half], two[:half]])
    hits = (one[None, :half] >= thresholds[:400, None]).mean(axis=1)  # some candidates are enough
    alarms = (two[None, :half] >= thresholds[:400, None]).mean(axis=1)
    best = thresholds[np.argmax(np.abs(hits - alarms))]
    size = len(one) - half
    hit, alarm = int((one[half:] >= best).sum()), int((two[half:] >= best).sum())
    return float(epsilon_lower_bound(hit, size, alarm, size))


def gate(of: Fleet) -> dict[str, str]:
    """Forgotten against retained records."""
    rows, found = [], {}
    for world, title in TITLES.items():
        forget, retain, test = (of.phi(world, part) for part in ("forget", "retain", "test"))
        inverted = [auc(one, two) for one, two in zip(forget, retain, strict=True)]
        passes = [forgotten_against_retained_gate(one, two) for one, two in zip(forget, retain, strict=True)]
        found[world] = np.array([auc(one, two) for one, two in zip(forget, test, strict=True)])
        rows.append([title, f"{np.mean(inverted):.3f}", f"{100 * np.mean(passes):.0f} %", f"{found[world].mean():.3f}"])
    retrained = np.array(
        [auc(one, two) for one, two in zip(of.phi("retrained", "forget"), of.phi("retrained", "test"), strict=True)]
    )
    return {
        "gate": table(
            ["models", "AUC forgotten against retained", "models that pass (0.4 to 0.6)", "AUC forgotten against test"],
            rows,
        ),
        "gate_p_original": f"{values_against_null(found['original'], retrained).p_value:.2g}",
        "gate_p_over": f"{values_against_null(found['over'], retrained).p_value:.2g}",
        "gate_alarms": share(_value_alarms(np.concatenate([retrained, found["again"]]), "gate")),
    }


def _value_alarms(values: np.ndarray, name: str) -> list[bool]:
    return [
        values_against_null(one, two, draws=199, seed=run).p_value <= ALPHA
        for run, (one, two) in enumerate(splits(values, name, 1000))
    ]


def efficacy(of: Fleet) -> dict[str, str]:
    """MIA-efficacy over exactly retrained models."""
    values = {}
    for world in track(("original", "over", "retrained", "again"), "MIA-efficacy"):
        parts = (1 / (1 + np.exp(-of.phi(world, part))) for part in ("retain", "forget", "test"))
        values[world] = 100 * np.array([mia_efficacy(*own) for own in zip(*parts, strict=True)])
    honest = np.concatenate([values["retrained"], values["again"]])
    low, high = np.quantile(honest, [0.05, 0.95])
    return {
        "efficacy_mean": f"{honest.mean():.1f}",
        "efficacy_sd": f"{honest.std(ddof=1):.1f}",
        "efficacy_range": f"{low:.1f} to {high:.1f}",
        "efficacy_models": str(len(honest)),
        "efficacy_original": f"{values['original'].mean():.1f}",
        "efficacy_over": f"{values['over'].mean():.1f}",
        "efficacy_p_over": f"{values_against_null(values['over'], values['retrained']).p_value:.2g}",
        "efficacy_p": f"{values_against_null(values['original'], values['retrained']).p_value:.2g}",
        "efficacy_alarms": share(_value_alarms(honest, "efficacy")),
    }


def entropy(of: Fleet) -> dict[str, str]:
    """Modified entropy by columns."""
    rows = np.concatenate([of.forget, of.retain]), of.test
    found = []
    for model in range(len(of.logits["original"])):
        known, unseen = (
            np.exp(
                of.logits["original"][model, part]
                - np.logaddexp.reduce(of.logits["original"][model, part], axis=1)[:, None]
            )
            for part in rows
        )
        both, labels = np.concatenate([known, unseen]), of.y[np.concatenate(rows)]
        right, broken = modified_entropy(both, labels), modified_entropy_by_columns(both, labels)
        finite = np.minimum(right, 1e3)
        size = len(known)
        other = stream(model, "labels").permutation(labels)
        found.append(
            [
                stats.spearmanr(finite, broken).statistic,
                auc(-finite[:size], -finite[size:]),
                auc(-broken[:size], -broken[size:]),
                float(np.mean(modified_entropy_by_columns(both, other) == broken)),
                float(np.mean(np.minimum(modified_entropy(both, other), 1e3) == finite)),
            ]
        )
    mean = np.mean(found, axis=0)
    return {
        "spearman": f"{mean[0]:.2f}",
        "entropy_auc": f"{mean[1]:.3f}",
        "entropy_broken_auc": f"{mean[2]:.3f}",
        "entropy_same_broken": f"{100 * mean[3]:.0f} %",
        "entropy_same": f"{100 * mean[4]:.0f} %",
    }


def thresholds() -> str:
    """Thresholds chosen on the data that is scored."""
    one_run: list[tuple[str, Rule, bool]] = [
        ("one run, best threshold, half of the records trained on", best_threshold_alarm, True),
        ("one run, best pair (k-, k+) on a grid of 20, independent coins", best_grid_alarm, False),
    ]
    two_worlds: list[tuple[str, Rule]] = [
        ("two worlds, exact limits at 5 % each, best threshold", best_clopper_pearson_alarm),
        ("two worlds, Katz, best threshold and direction", best_katz_alarm),
    ]
    rows: list[list[object]] = []
    for title, rule, balanced in one_run:
        for size in (200, 1000):
            generator = stream(size, title)
            runs = [
                generator.permutation(size) < size // 2 if balanced else generator.random(size) < 0.5
                for _ in range(1000)
            ]
            ours = [bool(stats.binom.sf(run[: size // 10].sum() - 1, size // 10, 0.5) <= ALPHA) for run in runs]
            rows.append(
                [
                    title,
                    f"{size:,}",
                    share([rule(run, ALPHA) for run in runs]),
                    share(ours),
                    "number of guesses fixed before",
                ]
            )
    for title, worlds in two_worlds:
        for size in (100, 500, 2000):
            generator = stream(size, title)
            found = [generator.permutation(2 * size) < size for _ in range(1000)]
            ours = [epsilon_over_thresholds(np.cumsum(run), size, np.cumsum(~run), size) > 0 for run in found]
            rows.append(
                [
                    title,
                    f"{size:,}",
                    share([worlds(run, ALPHA) for run in found]),
                    share(ours),
                    "bands over all thresholds",
                ]
            )
    return table(["rule", "trials", "false alarms of public code's rule at 5 %", "ours", "how"], rows)


def distances(of: Fleet, retrained: np.ndarray) -> dict[str, str]:
    """What the library says of the same models."""
    rows: list[list[object]] = []
    for world, title in TITLES.items():
        weights = weight_distances(of.weights[world], of.weights["retrained"], metrics=["l2"], draws=999)[0]
        predictions = function_distances(
            of.probabilities(world, "forget"), of.probabilities("retrained", "forget"), names=["js"], draws=999
        )[0]
        for found in (weights, predictions):
            ratio = f"{found.ratio.value:.3f} ({found.ratio.lower:.3f} to {found.ratio.upper:.3f})"
            rows.append([title, f"{found.name}, {found.part}", ratio, f"{found.p_value:.2g}"])
        margins = klom_per_record(of.phi(world, "forget"), of.phi("retrained", "forget"))
        flagged = f"mean excess {margins.mean_excess:+.3f}, {int(margins.flagged.sum())} of {FORGOTTEN} records"
        rows.append([title, "KLOM, excess", flagged, f"{margins.p_value:.2g}"])
    alarms = [
        klom_per_record(one, two, draws=199, seed=run).p_value <= ALPHA
        for run, (one, two) in enumerate(track(list(splits(retrained, "klom", 300)), "KLOM"))
    ]
    return {
        "distances": table(["models", "distance", "against retrained models (ratio, or excess)", "p"], rows),
        "klom_alarms": share(alarms),
    }


def page(models: int) -> str:
    """The page."""
    of = fleet(models)
    retrained = np.concatenate([of.phi("retrained", "forget"), of.phi("again", "forget")])
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        torch=torch.__version__,
        models=models,
        records=RECORDS,
        forgotten=FORGOTTEN,
        few=RECORDS_OF_COMPETITION,
        mislabelled=f"{100 * MISLABELLED:.0f}",
        competition=competition(of),
        **competition_ours(of, retrained),
        klom=klom(),
        epsilon=epsilon(),
        **gate(of),
        **efficacy(of),
        **entropy(of),
        thresholds=thresholds(),
        **distances(of, retrained),
    )


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "broken_metrics.md")
    arguments = parser.parse_args()
    arguments.output.write_text(page(arguments.models), encoding="utf-8")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
