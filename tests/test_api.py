"""Registering from outside: kinds of data and families that settings then choose by name."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import modelcollapse as mc
from modelcollapse.config.settings import read_chain_settings, used_members
from modelcollapse.data import data_of
from modelcollapse.data.images import Images, LabelledImages
from modelcollapse.data.settings import ImageSettings, SamplesSettings, TextSettings
from modelcollapse.data.text import Text
from modelcollapse.registry import Choice, Member, RegistrationError, register, registry

MIXTURE = ("model=gaussian_mixture", "decoding=none", "tracking=none")


@dataclass(frozen=True, kw_only=True)
class RingSettings(SamplesSettings):
    kind: str = "test_ring"
    name: str = "ring"
    rows: int = 60
    radius: float = 3.0
    mean: tuple[float, ...] = (0.0, 0.0)

    @property
    def covariance(self) -> tuple[tuple[float, ...], ...]:
        half = self.radius**2 / 2
        return ((half, 0.0), (0.0, half))

    @property
    def numbers_per_row(self) -> int:
        return 2


@mc.dataset("test_ring", "samples", RingSettings)
class Ring:
    """Points on a circle, which is no Gaussian."""

    def __init__(self, settings: RingSettings) -> None:
        self._radius = settings.radius

    def draw(self, replicates, rows, stream):
        angles = torch.from_numpy(stream.numpy().uniform(0, 2 * np.pi, (replicates, rows)))
        return self._radius * torch.stack([angles.cos(), angles.sin()], dim=-1)


def test_a_mixture_is_fitted_to_samples_from_outside(chain):
    works = chain(*MIXTURE, "data=test_ring", "model.replicates=2", "generations=2", "regime=accumulate").works
    means = [work.result.metrics["mean_error/mean"] for work in works]
    assert len(works) == 3
    assert all(np.isfinite(means))
    # A circle of radius 3 has no mass beyond its own: the mixture's mean stays near the middle of it.
    assert means[0] < 1


@dataclass(frozen=True, kw_only=True)
class VerseSettings(TextSettings):
    kind: str = "test_verse"
    name: str = "verse"
    block_length: int = 8
    line_start_token: bool = False
    train_blocks: int | None = 6
    evaluation_blocks: int | None = None
    reserve: float = 0.5
    word: str = "rose"


@mc.dataset("test_verse", "text", VerseSettings)
class Verse(Text):
    """A word, again and again."""

    def lines(self, split: str) -> Iterator[str]:
        yield from [f"{split} {self.settings.word} "] * 40


def test_lines_from_outside_become_blocks_with_a_reserve_and_a_recipe_of_their_settings(tmp_path):
    from modelcollapse.data.blocks import read_blocks
    from modelcollapse.data.tokenizers import train_byte_pairs

    verse = data_of(VerseSettings())
    verse.write(train_byte_pairs(verse.lines("train"), 300), tmp_path)
    assert [read_blocks(tmp_path, split).shape for split in ("train", "reserve")] == [(3, 8), (3, 8)]
    assert all(len(read_blocks(tmp_path, split)) > 10 for split in ("validation", "test"))
    assert verse.recipe()["source"] == {"kind": "test_verse", "word": "rose"}
    assert data_of(VerseSettings(word="tulip")).recipe() != verse.recipe()


@dataclass(frozen=True, kw_only=True)
class StripesSettings(ImageSettings):
    kind: str = "test_stripes"
    name: str = "stripes"
    train_rows: int | None = None
    validation_rows: int = 5
    test_rows: int | None = 4
    reserve: float = 0.2


@mc.dataset("test_stripes", "images", StripesSettings)
class Stripes(Images):
    """Images of one grey level each."""

    def training_and_test(self):
        images = torch.arange(30, dtype=torch.uint8)[:, None, None].expand(-1, 28, 28)
        labels = torch.arange(30) % 10
        return LabelledImages(images[:25], labels[:25]), LabelledImages(images[25:], labels[25:])


def test_images_from_outside_are_split_as_all_others():
    splits = data_of(StripesSettings()).splits()
    assert {split: len(part.images) for split, part in splits.items()} == {
        "train": 16,
        "reserve": 4,
        "validation": 5,
        "test": 4,
    }


@dataclass(frozen=True)
class ToySettings:
    width: int = 3


@mc.family("test_toy", ToySettings, label="a toy", forms=("test_toys",))
class Toy:
    pass


@dataclass(frozen=True)
class ToysSettings:
    rows: int = 5
    real_rows: int | None = None


@mc.dataset("test_toys", "test_toys", ToysSettings)
class Toys:
    pass


def test_a_family_with_data_of_its_own_form_is_chosen_by_name_and_its_settings_are_read(compose_values):
    overrides = ("model=test_toy", "model.width=4", "data=test_toys", "decoding=none")
    settings = read_chain_settings(compose_values(*overrides))
    assert (settings.model.family, settings.model.name, settings.model.width) == ("test_toy", "a toy", 4)
    assert [member.name for member in used_members(settings) if not member.is_built_in] == ["test_toy", "test_toys"]


def test_data_of_another_form_are_refused_with_the_form_that_is_wanted(compose_values):
    with pytest.raises(mc.SettingsError, match="choose data of the form test_toys"):
        read_chain_settings(compose_values("model=test_toy", "data=digits", "decoding=none"))


def test_options_of_a_family_that_there_are_not_are_an_error_where_they_stand():
    with pytest.raises(RegistrationError, match=r"accelerator'.*there are: forms, decodes"):
        mc.family("test_wrong", ToySettings, forms=(), accelerator="cpu")(Toy)


@mc.scorer("test_shortest", needs=("reference_losses",))
class Shortest:
    penalty: float = 1.5

    def __call__(self, candidates, reference_losses):
        return -self.penalty * reference_losses


def test_annotated_fields_of_a_class_are_its_settings_and_reach_it():
    member = registry("scorers")["test_shortest"]
    assert member.options == {"needs": ("reference_losses",)}
    scorer = Choice("scorers", "test_shortest", member.settings(penalty=2.0)).build()
    assert scorer(None, reference_losses=3.0) == -6.0
    with pytest.raises(AttributeError):
        scorer.penalty = 1.0


@mc.callback("test_counting", changes_results=False)
class Counting:
    every: int = 2

    def setup(self):
        self.seen = 0


def test_a_callback_keeps_attributes_of_its_own_beside_its_settings():
    member = registry("callbacks")["test_counting"]
    counting = Choice("callbacks", "test_counting", member.settings(every=3)).build()
    counting.setup()
    assert (counting.every, counting.seen) == (3, 0)


def test_another_member_of_a_name_is_refused_and_the_same_one_again_is_not():
    mc.scorer("test_shortest", needs=("reference_losses",))(Shortest)
    with pytest.raises(RegistrationError, match="'test_shortest': two that differ have this name"):
        mc.scorer("test_shortest", version=2)(Shortest)


def test_of_a_notebooks_cell_that_was_edited_the_later_registration_counts():
    for version in (1, 2):
        register(Member("scorers", "test_of_a_cell", Shortest, version, origin="__main__"))
    assert registry("scorers")["test_of_a_cell"].version == 2
