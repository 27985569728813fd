"""The discrete estimator against independent references, and its chains against theory."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chisquare, entropy, ks_2samp

from modelcollapse.data.settings import CategoricalSamplesSettings, zipf
from modelcollapse.families.discrete import theory
from modelcollapse.families.discrete.estimator import DiscreteEstimator
from modelcollapse.families.discrete.settings import DiscreteSettings
from modelcollapse.seeding import Stream

SIGMAS = 5.0
"""Bound of every comparison with an expectation, in standard errors over independent replicates."""
STREAM = Stream(0, 2, "test")
TRUE = zipf(5, 1.0)


def estimator(replicates=2000):
    model = DiscreteSettings("Categorical", replicates, 100, "discrete", "samples")
    return DiscreteEstimator(model, CategoricalSamplesSettings("categorical_samples", "Zipf", 10, 5, 1.0))


def test_samples_have_the_true_probabilities_and_every_replicate_its_own():
    rows = estimator().real(30, STREAM)
    assert rows.shape == (2000, 30, 1)
    counts = np.bincount(rows.flatten().numpy(), minlength=5)
    assert chisquare(counts, 2000 * 30 * TRUE).pvalue > 1e-3
    assert len(torch.unique(rows, dim=0)) > 1000


def test_samples_and_statistics_have_one_distribution():
    discrete, frequencies = estimator(), {}
    for synthesis in ("samples", "statistics"):
        state = None
        for generation in range(4):
            stream = Stream(0, generation, synthesis)
            if synthesis == "samples":
                rows = discrete.real(9, stream) if state is None else discrete.draw(state, 9, stream)
                state = discrete.fit(rows, None, state, stream).state
            else:
                counts = (
                    discrete.real_statistics(9, stream) if state is None else discrete.draw_statistics(state, 9, stream)
                )
                state = discrete.fit_statistics(counts, state, stream).state
        frequencies[synthesis] = state["probabilities"].numpy()
    probabilities = [
        ks_2samp(a, b).pvalue for a, b in zip(frequencies["samples"].T, frequencies["statistics"].T, strict=True)
    ]
    assert min(probabilities) > 1e-3


def test_weighted_frequencies_are_those_of_numpy():
    discrete = estimator(replicates=3)
    rows = discrete.real(8, STREAM)
    weights = torch.tensor([0.5] * 6 + [2.5] * 2, dtype=torch.float64)
    fitted = discrete.fit(rows, weights, None, STREAM).state
    for replicate in range(3):
        counted = np.bincount(rows[replicate, :, 0], weights=weights, minlength=5)
        np.testing.assert_allclose(fitted["probabilities"][replicate], counted / 8)


def test_measures_are_those_of_the_textbook():
    discrete = estimator(replicates=2)
    probabilities = torch.tensor([[0.5, 0.25, 0.0, 0.25, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    state = {"probabilities": probabilities[None], "single_since": torch.tensor([[-1, 0]])}
    measures = {name: values[0] for name, values in discrete.measure(state, {}, [STREAM]).items()}
    np.testing.assert_allclose(measures["survivors"], [3, 1])
    np.testing.assert_allclose(measures["entropy"], entropy(probabilities.numpy(), axis=1), atol=1e-12)
    np.testing.assert_allclose(measures["heterozygosity"], [1 - 0.375, 0])
    np.testing.assert_allclose(measures["single"], [0, 1])
    np.testing.assert_allclose(measures["total_variation"], np.abs(probabilities.numpy() - TRUE).sum(axis=1) / 2)


def test_the_generation_since_which_one_state_is_left_is_remembered_and_forgotten():
    discrete = estimator(replicates=3)

    def fitted(counts, previous, generation):
        statistics = {"counts": torch.tensor(counts)}
        return discrete.fit_statistics(statistics, previous, Stream(0, generation, "fit")).state

    single, several = [0, 4, 0, 0, 0], [1, 3, 0, 0, 0]
    first = fitted([single, several, several], None, 0)
    second = fitted([single, single, several], first, 1)
    third = fitted([single, single, several], second, 2)
    assert third["single_since"].tolist() == [0, 1, -1]
    assert fitted([several, single, single], third, 3)["single_since"].tolist() == [-1, 1, 3]


CHAIN = (
    "model=discrete",
    "data=categorical_samples",
    "decoding=none",
    "tracking=none",
    "trainer.threads=1",
    "model.replicates=3000",
    "generations=150",
    "data.rows=12",
    "data.states=6",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from conftest import run_command

    place = tmp_path_factory.mktemp("discrete")
    overrides = [*CHAIN, f"paths.store={place / 'store'}", f"hydra.run.dir={place / 'run'}"]
    found = run_command(overrides, place, place / "run")
    assert found.code == 0, found.err
    return found


@pytest.mark.parametrize("measure", ["survivors", "entropy", "heterozygosity", "single"])
def test_a_chain_keeps_to_theory(finished, measure):
    table = pd.read_parquet(finished.folder / "discrete.parquet")
    errors = table[f"{measure}/standard_deviation"] / np.sqrt(3000)
    far = (table[f"{measure}/mean"] - table[f"theory/{measure}"]).abs()
    assert len(table) == 151
    # A share of no replicate, or of all, has no spread to measure: its expectation must be as near to 0 or 1.
    assert (far <= SIGMAS * errors.clip(lower=1 / 3000)).all()


def test_every_replicate_ends_in_a_state_with_the_states_true_probability(finished):
    ends = pd.read_parquet(finished.folder / "end_states.parquet")
    replicates = pd.read_parquet(finished.folder / "replicates.parquet")
    absorbed = replicates[replicates["single_since"] >= 0]
    assert len(absorbed) > 2990
    assert ends["replicates"].tolist() == [int((absorbed["end_state"] == state).sum()) for state in range(1, 7)]
    np.testing.assert_allclose(ends["probability"], zipf(6, 1.0))
    assert chisquare(ends["replicates"], len(absorbed) * ends["probability"]).pvalue > 1e-3


def test_the_time_until_one_state_is_left_is_what_theory_expects(finished):
    replicates = pd.read_parquet(finished.folder / "replicates.parquet")
    # Generation t is fit t + 1; the few that are not there yet count as if they were in the next one.
    fits = replicates["single_since"].where(replicates["single_since"] >= 0, 151) + 1
    shares = [theory.absorbed_share(item) for item in theory.resampled_marginals(zipf(6, 1.0), 12, 151)]
    expected = 1 + (1 - np.array(shares)).sum()
    assert abs(fits.mean() - expected) < SIGMAS * fits.std() / np.sqrt(3000)


def test_figures_are_drawn_for_every_end(finished, train):
    drawn = {path.name for path in (finished.folder / "figures").iterdir()}
    assert drawn >= {"loss_of_states.png", "end_states.png"}
    unabsorbed = train(*CHAIN, "model.replicates=3", "generations=1", "data.rows=400", "regime=augment")
    assert unabsorbed.code == 0, unabsorbed.err
    assert pd.read_parquet(unabsorbed.folder / "end_states.parquet")["replicates"].sum() == 0
