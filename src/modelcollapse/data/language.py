"""The built-in language: English-like text whose true probability is known exactly.

A hidden Markov model generates words. Its hidden states are pairs of a topic and a grammatical role; a role
emits one word class, the topic's own words before the others, with Zipf's weights. Because the forward
algorithm (Rabiner 1989, "A tutorial on hidden Markov models", equations 18-21 and 91-103) gives the exact
probability of any text under this model, the true entropy is known, and what a chain of language models loses
can be measured against the truth instead of against another model.

The topic lasts through a sentence and is drawn anew, at times, at the full stop: a reader has to carry it
across the words that say nothing about it. Topics are as unequal as words are: there are rare ones to lose.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from modelcollapse.data.lexicon import SHARED, TOPICS
from modelcollapse.data.settings import LanguageSettings
from modelcollapse.data.text import TokenSource
from modelcollapse.seeding import Stream
from modelcollapse.settings import identity_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Matrix = NDArray[np.float64]

WORD_CLASSES: Mapping[str, str] = {
    "full_stop": "full_stop",
    "opener": "opening_adverb",
    "subject_determiner": "determiner",
    "subject_adjective": "character_adjective",
    "subject": "agent",
    "subject_pronoun": "pronoun",
    "manner": "manner_adverb",
    "action": "transitive_verb",
    "object_determiner": "determiner",
    "object_adjective": "quality_adjective",
    "object": "thing",
    "motion": "intransitive_verb",
    "link": "linking_verb",
    "predicate": "character_adjective",
    "preposition": "preposition",
    "place_determiner": "determiner",
    "place_adjective": "setting_adjective",
    "place": "place",
    "closer": "closing_adverb",
    "conjunction": "conjunction",
}
"""Grammatical role -> the word class that it emits. The order numbers the hidden states of a topic."""

GRAMMAR: Mapping[str, Mapping[str, float]] = {
    "full_stop": {"subject_determiner": 0.60, "subject_pronoun": 0.24, "opener": 0.16},
    "opener": {"subject_determiner": 0.65, "subject_pronoun": 0.35},
    "subject_determiner": {"subject": 0.60, "subject_adjective": 0.40},
    "subject_adjective": {"subject": 1.00},
    "subject": {"action": 0.46, "motion": 0.26, "link": 0.15, "manner": 0.13},
    # A pronoun takes no linking verb: "was" does not agree with all of them.
    "subject_pronoun": {"action": 0.52, "motion": 0.32, "manner": 0.16},
    "manner": {"action": 0.60, "motion": 0.40},
    "action": {"object_determiner": 1.00},
    "object_determiner": {"object": 0.60, "object_adjective": 0.40},
    "object_adjective": {"object": 1.00},
    "object": {"full_stop": 0.44, "preposition": 0.36, "conjunction": 0.14, "closer": 0.06},
    "motion": {"preposition": 0.62, "full_stop": 0.15, "closer": 0.13, "conjunction": 0.10},
    "link": {"predicate": 1.00},
    "predicate": {"full_stop": 0.60, "conjunction": 0.25, "preposition": 0.15},
    "preposition": {"place_determiner": 1.00},
    "place_determiner": {"place": 0.60, "place_adjective": 0.40},
    "place_adjective": {"place": 1.00},
    "place": {"full_stop": 0.76, "conjunction": 0.20, "closer": 0.04},
    "closer": {"full_stop": 0.85, "conjunction": 0.15},
    "conjunction": {"subject_determiner": 0.62, "subject_pronoun": 0.38},
}
"""Grammatical role -> probability of the role that follows."""

_BLOCKS_AT_ONCE = 1024


class Estimate(NamedTuple):
    """A Monte Carlo mean and the standard error of that mean, in the same unit."""

    mean: float
    standard_error: float


class Language(Protocol):
    """A language whose probabilities are known: what data of the form ``known_language`` are drawn from."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """The V words, in the order of their numbers."""
        ...

    def sample(self, blocks: int, length: int, generator: np.random.Generator) -> NDArray[np.int32]:
        """Independent blocks of words, [blocks, length] word numbers."""
        ...

    def token_log_probabilities(self, blocks: NDArray[np.integer]) -> Matrix:
        """Natural logarithm of each word's probability given the words of its block before it, [blocks, length]."""
        ...

    def log_likelihood(self, blocks: NDArray[np.integer]) -> Matrix:
        """Natural logarithm of each block's probability, [blocks]."""
        ...

    def unigram(self) -> Matrix:
        """Probability of each word at any place of a block, [V]."""
        ...


class HiddenMarkovLanguage:
    """A stationary hidden Markov model over words, with full support.

    Attributes:
        vocabulary: the V words, in the order of their indices.
        initial: [K] distribution of the first hidden state: the stationary distribution of `transition`.
        transition: [K, K] probability of the next hidden state, a row for each state.
        emission: [K, V] probability of each word, a row for each state.
    """

    vocabulary: tuple[str, ...]
    initial: Matrix
    transition: Matrix
    emission: Matrix

    def __init__(self, settings: LanguageSettings) -> None:
        """Builds the English-like language. Raises ValueError where the settings leave a text impossible."""
        topics = list(TOPICS)[: settings.topics]
        vocabulary = _vocabulary(topics)
        self._adopt(_transition(settings, len(topics)), _emission(settings, topics, vocabulary), vocabulary)

    @classmethod
    def from_matrices(cls, transition: Matrix, emission: Matrix, vocabulary: Sequence[str]) -> Self:
        """A language of given `transition` [K, K] and `emission` [K, V]; it starts in equilibrium.

        Raises ValueError if shapes disagree, an entry is not positive, a row does not sum to 1 or a word
        occurs twice.
        """
        language = cls.__new__(cls)
        language._adopt(np.array(transition, np.float64), np.array(emission, np.float64), tuple(vocabulary))
        return language

    def _adopt(self, transition: Matrix, emission: Matrix, vocabulary: tuple[str, ...]) -> None:
        states = len(transition)
        _check_distributions("transition", transition, (states, states))
        _check_distributions("emission", emission, (states, len(vocabulary)))
        if len(set(vocabulary)) != len(vocabulary):
            raise ValueError("vocabulary: a word occurs more than once")
        self.vocabulary = vocabulary
        self.transition = transition
        self.emission = emission
        self.initial = stationary_distribution(transition)
        for matrix in (self.initial, self.transition, self.emission):
            matrix.setflags(write=False)

    def unigram(self) -> Matrix:
        """[V] probability of each word at any place of a block: the stationary word distribution."""
        return self.initial @ self.emission

    def sample(self, blocks: int, length: int, generator: np.random.Generator) -> NDArray[np.int32]:
        """Independent blocks of words, [blocks, length] word indices, each starting in equilibrium."""
        next_state = _InverseCumulative(self.transition)
        next_word = _InverseCumulative(self.emission)
        words = np.empty((blocks, length), np.int32)
        first = _InverseCumulative(self.initial[None])
        state = first.draw(np.zeros(blocks, np.intp), generator)
        for position in range(length):
            words[:, position] = next_word.draw(state, generator)
            state = next_state.draw(state, generator)
        return words

    def token_log_probabilities(self, blocks: NDArray[np.integer]) -> Matrix:
        """Exact log p(x_i | x_1 .. x_{i-1}) of every word in nats, [blocks, length] like the words given.

        The scaled forward algorithm (Rabiner 1989): its scaling factors are these probabilities. Raises
        ValueError if `blocks` is not a matrix of indices into the vocabulary.
        """
        self._check_words(blocks)
        log_probabilities = np.empty(blocks.shape)
        for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
            part = slice(start, start + _BLOCKS_AT_ONCE)
            log_probabilities[part] = self._forward(blocks[part])
        return log_probabilities

    def log_likelihood(self, blocks: NDArray[np.integer]) -> Matrix:
        """Exact log probability in nats of every block, [blocks]. Raises like `token_log_probabilities`."""
        return self.token_log_probabilities(blocks).sum(axis=1)

    def entropy_per_token(self, length: int, generator: np.random.Generator, blocks: int = 4096) -> Estimate:
        """Entropy H(x_1 .. x_length) / length in nats: the loss per token of a perfect model of such blocks.

        The mean of -log p(block) / length over sampled blocks. It is unbiased, since p is the exact
        probability under the distribution that the blocks are drawn from; its error is of sampling only. The
        entropy falls with `length` towards the entropy rate. Needs `length` >= 1 and `blocks` >= 2.
        """
        surprise = -self.log_likelihood(self.sample(blocks, length, generator)) / length
        return Estimate(float(surprise.mean()), float(surprise.std(ddof=1) / np.sqrt(blocks)))

    def _forward(self, blocks: NDArray[np.integer]) -> Matrix:
        emission_by_word = self.emission.T
        state = np.broadcast_to(self.initial, (len(blocks), len(self.initial)))
        probabilities = np.empty(blocks.shape)
        for position in range(blocks.shape[1]):
            joint = state * emission_by_word[blocks[:, position]]
            probabilities[:, position] = joint.sum(axis=1)
            state = (joint / probabilities[:, position, None]) @ self.transition
        return np.log(probabilities)

    def _check_words(self, blocks: NDArray[np.integer]) -> None:
        if blocks.ndim != 2 or not np.issubdtype(blocks.dtype, np.integer):
            raise ValueError(f"blocks: a matrix of word indices is needed, not {blocks.dtype} {blocks.shape}")
        if blocks.size and not 0 <= blocks.min() <= blocks.max() < len(self.vocabulary):
            raise ValueError(f"blocks: word indices go from 0 to {len(self.vocabulary) - 1}")


def stationary_distribution(transition: Matrix) -> Matrix:
    """[K] the distribution that `transition` [K, K], all positive, leaves as it is."""
    states = len(transition)
    # Adding 1 everywhere puts in the condition that the solution sums to 1, and makes the system regular.
    return np.asarray(np.linalg.solve((np.eye(states) - transition + 1.0).T, np.ones(states)), np.float64)


class _InverseCumulative:
    """Draws from the rows of a stochastic matrix: one search in their cumulative sums, laid end to end."""

    def __init__(self, distributions: Matrix) -> None:
        self._outcomes = distributions.shape[1]
        rows = np.arange(len(distributions))[:, None]
        self._cumulative = (rows + np.cumsum(distributions, axis=1)).ravel()

    def draw(self, rows: NDArray[np.intp], generator: np.random.Generator) -> NDArray[np.intp]:
        """One outcome for each of `rows`, [len(rows)]."""
        found = np.searchsorted(self._cumulative, rows + generator.random(len(rows)), side="right")
        # Rounding can put a number beside the end of its own row, on either side.
        return np.clip(found - rows * self._outcomes, 0, self._outcomes - 1)


def _transition(settings: LanguageSettings, topics: int) -> Matrix:
    roles = list(WORD_CLASSES)
    grammar = np.array([[GRAMMAR[role].get(successor, 0.0) for successor in roles] for role in roles])
    keep = np.eye(topics)
    draw = np.broadcast_to(_zipf(topics, settings.zipf_exponent), (topics, topics))
    topic_after = np.stack([keep] * len(roles))
    topic_after[roles.index("full_stop")] += (1 - settings.topic_persistence) * (draw - keep)
    states = topics * len(roles)
    transition = np.einsum("rs,rtu->trus", grammar, topic_after).reshape(states, states)
    return (1 - settings.smoothing) * transition + settings.smoothing / states


def _emission(settings: LanguageSettings, topics: Sequence[str], vocabulary: Sequence[str]) -> Matrix:
    index = {word: position for position, word in enumerate(vocabulary)}
    emission = np.zeros((len(topics), len(WORD_CLASSES), len(vocabulary)))
    for topic_number, topic in enumerate(topics):
        for role_number, word_class in enumerate(WORD_CLASSES.values()):
            ranked = [index[word] for word in _ranked_words(word_class, topic, topics)]
            emission[topic_number, role_number, ranked] = _zipf(len(ranked), settings.zipf_exponent)
    smoothed = (1 - settings.smoothing) * emission + settings.smoothing / len(vocabulary)
    return smoothed.reshape(-1, len(vocabulary))


def _zipf(count: int, exponent: float) -> Matrix:
    weights = np.arange(1.0, count + 1) ** -exponent
    return weights / weights.sum()


def _ranked_words(word_class: str, topic: str, topics: Sequence[str]) -> Iterator[str]:
    """The topic's own words, those of all topics, then those of the others: all their first, second, ..."""
    others = [TOPICS[other].get(word_class, ()) for other in topics if other != topic]
    foreign = (word for words in zip_longest(*others) for word in words if word is not None)
    return chain(TOPICS[topic].get(word_class, ()), SHARED[word_class], foreign)


def _vocabulary(topics: Sequence[str]) -> tuple[str, ...]:
    lists = chain(SHARED.values(), *(TOPICS[topic].values() for topic in topics))
    return tuple(chain.from_iterable(lists))


def _check_distributions(name: str, matrix: Matrix, shape: tuple[int, int]) -> None:
    if matrix.shape != shape:
        raise ValueError(f"{name}: shape {matrix.shape} where {shape} is needed")
    if not (matrix > 0).all():
        raise ValueError(f"{name}: every entry must be positive, so that no text is impossible")
    if not np.allclose(matrix.sum(axis=1), 1.0, rtol=0.0, atol=1e-9):
        raise ValueError(f"{name}: every row must sum to 1")


class KnownLanguage(TokenSource):
    """Base class of data of the form ``known_language``: draws blocks from a language with known probabilities."""

    @abstractmethod
    def truth(self) -> Language:
        """The language."""

    def recipe(self) -> Mapping[str, Any]:
        """The settings; a class that reads files adds what they hold."""
        return identity_of(self.settings)

    def own_tokenizer(self) -> "PreTrainedTokenizerBase":
        """One token a word."""
        from modelcollapse.data.tokenizers import words_tokenizer

        return words_tokenizer(self.truth().vocabulary)

    def splits(self, tokenizer: "PreTrainedTokenizerBase") -> dict[str, np.ndarray]:
        """Blocks drawn for each split, the same for all chains."""
        data, language = self.settings, self.truth()
        sizes = {"train": data.train_blocks, "validation": data.validation_blocks, "test": data.test_blocks}
        return {
            split: language.sample(size, data.block_length, Stream(data.seed, 0, f"language.{split}").numpy())
            for split, size in sizes.items()
        }

    def write(self, tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
        """The blocks of the splits, and the bytes of the words."""
        from modelcollapse.data.blocks import write_blocks
        from modelcollapse.data.tokenizers import bytes_per_token

        write_blocks(folder, **self.splits(tokenizer), bytes_per_token=bytes_per_token(tokenizer))

    def fresh_stream(self, seed: int, generation: int) -> Stream:
        """A stream for each generation: there are always more."""
        return Stream(seed, generation, "fresh")

    def fresh_blocks(self, rows: int, generation: int, reserve: np.ndarray, stream: Stream) -> np.ndarray:
        """Blocks drawn anew."""
        return self.truth().sample(rows, self.settings.block_length, stream.numpy())


class BuiltInLanguage(KnownLanguage):
    """The built-in language."""

    def vocabulary_recipe(self) -> Mapping[str, Any]:
        """The words follow from the language alone."""
        return {"language": identity_of(self.settings.language)}

    def truth(self) -> HiddenMarkovLanguage:
        """The hidden Markov model of the settings."""
        return HiddenMarkovLanguage(self.settings.language)
