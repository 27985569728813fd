import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from modelcollapse.data.language import HiddenMarkovLanguage, LanguageSettings, stationary_distribution
from modelcollapse.data.lexicon import SHARED, TOPICS

TINY_TRANSITION = np.array([[0.7, 0.2, 0.1], [0.05, 0.6, 0.35], [0.3, 0.3, 0.4]])
TINY_EMISSION = np.array([[0.6, 0.3, 0.05, 0.05], [0.1, 0.1, 0.7, 0.1], [0.2, 0.02, 0.08, 0.7]])


@pytest.fixture(scope="module")
def tiny():
    return HiddenMarkovLanguage.from_matrices(TINY_TRANSITION, TINY_EMISSION, ["a", "b", "c", "d"])


@pytest.fixture(scope="module")
def english():
    return HiddenMarkovLanguage(LanguageSettings())


def all_blocks(words, length):
    return np.array(list(product(range(words), repeat=length)))


def sum_over_paths(language, block):
    """The definition: the joint probability of words and hidden states, summed over every path."""
    total = 0.0
    for path in product(range(len(language.initial)), repeat=len(block)):
        probability = language.initial[path[0]] * language.emission[path[0], block[0]]
        for before, state, word in zip(path, path[1:], block[1:], strict=False):
            probability *= language.transition[before, state] * language.emission[state, word]
        total += probability
    return total


def words_of(language, text):
    return np.array([[language.vocabulary.index(word) for word in text.split()]])


def test_log_likelihood_is_the_sum_over_all_hidden_paths(tiny):
    blocks = all_blocks(4, 4)
    expected = np.log([sum_over_paths(tiny, block) for block in blocks])
    np.testing.assert_allclose(tiny.log_likelihood(blocks), expected, rtol=1e-12)


def test_token_log_probabilities_are_conditional_on_the_words_before(tiny):
    block = np.array([2, 0, 3, 3, 1])
    prefixes = np.log([sum_over_paths(tiny, block[:end]) for end in range(1, 6)])
    np.testing.assert_allclose(tiny.token_log_probabilities(block[None])[0], np.diff(prefixes, prepend=0.0), rtol=1e-12)


def test_probabilities_of_all_blocks_sum_to_one(tiny):
    assert np.exp(tiny.log_likelihood(all_blocks(4, 3))).sum() == pytest.approx(1.0, abs=1e-13)


def test_next_word_probabilities_sum_to_one_in_english(english):
    context = words_of(english, "the sailor mended a net . then she")
    words = len(english.vocabulary)
    blocks = np.hstack([np.repeat(context, words, axis=0), np.arange(words)[:, None]])
    assert np.exp(english.token_log_probabilities(blocks)[:, -1]).sum() == pytest.approx(1.0, abs=1e-12)


def test_every_position_has_the_unigram_distribution(tiny):
    blocks = all_blocks(4, 4)
    probabilities = np.exp(tiny.log_likelihood(blocks))
    for position in range(4):
        marginal = np.bincount(blocks[:, position], probabilities)
        np.testing.assert_allclose(marginal, tiny.unigram(), rtol=1e-12)


@pytest.mark.parametrize("topics", [1, 3, len(TOPICS)])
def test_matrices_are_distributions_with_full_support(topics):
    language = HiddenMarkovLanguage(LanguageSettings(topics=topics))
    for matrix in (language.initial, language.transition, language.emission, language.unigram()):
        assert matrix.dtype == np.float64
        assert (matrix > 0).all()
        np.testing.assert_allclose(matrix.sum(axis=-1), 1.0, rtol=0, atol=1e-12)
    assert language.emission.shape == (len(language.initial), len(language.vocabulary))


@pytest.mark.parametrize("persistence", [0.0, 0.7, 1.0])
def test_start_is_stationary(persistence):
    language = HiddenMarkovLanguage(LanguageSettings(topic_persistence=persistence))
    np.testing.assert_allclose(language.initial @ language.transition, language.initial, rtol=0, atol=1e-12)


def test_stationary_distribution_is_where_the_chain_ends():
    after_long = np.linalg.matrix_power(TINY_TRANSITION, 200)
    np.testing.assert_allclose(after_long[0], stationary_distribution(TINY_TRANSITION), rtol=1e-12)


def test_no_block_is_impossible(english):
    generator = np.random.default_rng(0)
    words = len(english.vocabulary)
    noise = generator.integers(words, size=(64, 512))
    repeats = np.repeat(np.arange(words)[:, None], 512, axis=1)
    for blocks in (noise, repeats):
        assert np.isfinite(english.token_log_probabilities(blocks)).all()


def test_sampling_repeats_with_the_generator(english):
    first, again, other = (english.sample(50, 20, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first.shape == (50, 20)
    assert first.dtype == np.int32
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_sampled_words_have_the_unigram_distribution_at_any_position(english):
    blocks = english.sample(100_000, 12, np.random.default_rng(1))
    for position in (0, 11):
        observed = np.bincount(blocks[:, position], minlength=len(english.vocabulary))
        assert stats.chisquare(observed, english.unigram() * len(blocks)).pvalue > 1e-3


def test_sampled_blocks_have_their_exact_probabilities(tiny):
    blocks = tiny.sample(200_000, 4, np.random.default_rng(2))
    observed = np.bincount(blocks @ [64, 16, 4, 1], minlength=256)
    expected = np.exp(tiny.log_likelihood(all_blocks(4, 4))) * len(blocks)
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_score_of_a_block_does_not_depend_on_its_neighbours(english):
    blocks = english.sample(2500, 8, np.random.default_rng(3))
    together = english.token_log_probabilities(blocks)
    for block in (0, 1023, 1024, 2499):
        alone = english.token_log_probabilities(blocks[block : block + 1])
        np.testing.assert_allclose(together[block], alone[0], rtol=1e-12)


def test_entropy_estimate_is_unbiased_and_knows_its_error(tiny):
    log_probabilities = tiny.log_likelihood(all_blocks(4, 5))
    exact = -(np.exp(log_probabilities) * log_probabilities).sum() / 5
    generator = np.random.default_rng(4)
    single = tiny.entropy_per_token(5, generator, blocks=50_000)
    assert abs(single.mean - exact) < 4 * single.standard_error
    estimates = [tiny.entropy_per_token(5, generator, blocks=100) for _ in range(400)]
    scores = [(estimate.mean - exact) / estimate.standard_error for estimate in estimates]
    assert abs(np.mean(scores)) < 4 / np.sqrt(400)
    assert np.std(scores) == pytest.approx(1.0, abs=0.15)


def test_context_lowers_the_entropy(english):
    generator = np.random.default_rng(5)
    short, long = (english.entropy_per_token(length, generator, blocks=1000) for length in (4, 64))
    assert long.mean + 10 * long.standard_error < short.mean


def test_topic_is_carried_across_a_sentence_that_does_not_show_it():
    def advantage(persistence):
        language = HiddenMarkovLanguage(LanguageSettings(topic_persistence=persistence))
        at_sea, on_farm = (
            language.token_log_probabilities(words_of(language, f"the {agent} slept . she walked . the sailor"))
            for agent in ("captain", "shepherd")
        )
        return at_sea[0, -1] - on_farm[0, -1]

    assert advantage(0.7) > 0.5
    assert advantage(0.95) > advantage(0.7)
    assert advantage(0.0) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("exponent", [0.0, 1.1, 2.0])
def test_words_of_a_state_follow_zipf(exponent):
    language = HiddenMarkovLanguage(LanguageSettings(zipf_exponent=exponent, smoothing=1e-9))
    at_sea = language.emission[language.emission[:, language.vocabulary.index("captain")].argmax()]
    agents = [language.vocabulary.index(word) for word in (*TOPICS["sea"]["agent"], *SHARED["agent"])]
    ranks = np.arange(1, len(agents) + 1)
    np.testing.assert_allclose(at_sea[agents] / at_sea[agents[0]], ranks**-exponent, rtol=1e-5)


def test_smoothing_is_the_uniform_share_of_every_row():
    language = HiddenMarkovLanguage(LanguageSettings(smoothing=0.01))
    assert language.emission.min() * len(language.vocabulary) == pytest.approx(0.01)
    assert language.transition.min() * len(language.initial) == pytest.approx(0.01)


def test_vocabulary_is_of_distinct_plain_words(english):
    words = english.vocabulary
    assert len(set(words)) == len(words) > 700
    assert all(word == "." or (word.isascii() and word.isalpha() and word.islower()) for word in words)


@pytest.mark.parametrize(
    "word_class",
    ["agent", "thing", "place", "character_adjective", "quality_adjective", "setting_adjective"],
)
def test_the_article_a_fits_every_word_that_may_follow_it(word_class):
    lists = [SHARED[word_class], *(topic[word_class] for topic in TOPICS.values())]
    assert not [word for words in lists for word in words if word.startswith(tuple("aeiou"))]


def test_fewer_topics_leave_the_indices_of_the_words_they_keep(english):
    few = HiddenMarkovLanguage(LanguageSettings(topics=2)).vocabulary
    assert few == english.vocabulary[: len(few)]
    assert len(few) < len(english.vocabulary)


@pytest.mark.parametrize("blocks", [np.array([[0, -1]]), np.array([[0, 4]]), np.array([[0.0, 1.0]]), np.array([0, 1])])
def test_what_is_no_block_of_words_is_refused(tiny, blocks):
    with pytest.raises(ValueError, match="blocks"):
        tiny.log_likelihood(blocks)


@pytest.mark.parametrize(
    ("name", "transition", "emission", "vocabulary"),
    [
        ("transition", np.eye(3), TINY_EMISSION, "abcd"),
        ("transition", TINY_TRANSITION[:2], TINY_EMISSION, "abcd"),
        ("emission", TINY_TRANSITION, TINY_EMISSION / 2, "abcd"),
        ("emission", TINY_TRANSITION, TINY_EMISSION, "abc"),
        ("emission", TINY_TRANSITION, np.full((3, 4), np.nan), "abcd"),
        ("vocabulary", TINY_TRANSITION, TINY_EMISSION, "abca"),
    ],
)
def test_matrices_that_are_no_language_are_refused(name, transition, emission, vocabulary):
    with pytest.raises(ValueError, match=name):
        HiddenMarkovLanguage.from_matrices(transition, emission, vocabulary)


def test_settings_that_make_a_text_impossible_are_refused():
    with pytest.raises(ValueError, match="positive"):
        HiddenMarkovLanguage(replace(LanguageSettings(), smoothing=0.0))


def test_the_language_cannot_be_changed_in_place(english):
    for matrix in (english.initial, english.transition, english.emission):
        with pytest.raises(ValueError, match="read-only"):
            matrix[0] = 0.5


def test_the_caller_keeps_the_matrices_given():
    transition = TINY_TRANSITION.copy()
    language = HiddenMarkovLanguage.from_matrices(transition, TINY_EMISSION, "abcd")
    transition[0] = [0.1, 0.1, 0.8]
    np.testing.assert_array_equal(language.transition, TINY_TRANSITION)


def test_default_language_is_the_one_that_stored_work_was_made_with(english):
    """Stored work is named by its settings: a changed word, weight or draw needs a new stage version."""
    digest = hashlib.sha256(" ".join(english.vocabulary).encode()).hexdigest()
    assert digest == "067e4eeb0d2f9a86e245e4b89f2488282870223a08fde733844e53cdeb318908"
    text = "the tired sailor quietly mended a rusty net near the misty harbour . then she slept ."
    assert english.log_likelihood(words_of(english, text))[0] == pytest.approx(-45.6061860171, abs=1e-8)
    written = english.sample(2, 8, np.random.default_rng(0))[1]
    assert " ".join(english.vocabulary[word] for word in written) == "walked so he slowly mended this dramatic rope"


def test_import_brings_no_heavy_library():
    check = (
        "import sys, modelcollapse.data.language; "
        "print(sorted({'torch', 'pandas', 'scipy', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
