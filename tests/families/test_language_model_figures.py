import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.image import imread
from matplotlib.patches import StepPatch

from modelcollapse.families.language_model import figures
from modelcollapse.figures import style

TEXT = style.FigureText("OPT-125m", "replace", "0-2", "36,718 sequences")
PROMPT = "some started before 1360 — was typically accomplished by a master mason"


def chain(seeds=3, generations=6):
    generator = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        for generation in range(generations):
            test = 34 + 20 * (1 - 0.4**generation) + generator.normal()
            rows.append(
                {
                    "generation": generation,
                    "seed": seed,
                    "test/perplexity": test,
                    "validation/perplexity": test + 1,
                    "zero_shot/test/perplexity": 115.0 if generation == 0 else np.nan,
                    "synthetic/reference_perplexity/median": 13 - generation,
                    "synthetic/distinct_2": 0.3 * 0.9**generation,
                    "synthetic/vocabulary_kept": 0.6 * 0.9**generation,
                    "synthetic/unigram_entropy": 7 - 0.2 * generation,
                    "synthetic/repetition_rate": 0.1 + 0.05 * generation,
                    "synthetic/reference_perplexity/above_real_p99": 0.002 * generation,
                    "synthetic/reference_perplexity/below_real_p01": 0.3 + 0.1 * generation,
                }
            )
    return pd.DataFrame(rows)


def sequences(generations=(0, 1, 2, 3, 4, 5), n=3000, median=12.0):
    generator = np.random.default_rng(0)
    sets = {-1: generator.lognormal(np.log(30), 0.3, n)}
    sets |= {t: generator.lognormal(np.log(median) - 0.1 * t, 0.3 + 0.02 * t, n) for t in generations}
    return pd.concat(pd.DataFrame({"generation": t, "reference_perplexity": values}) for t, values in sets.items())


def continuations(generations=10, words=64):
    generator = np.random.default_rng(0)
    vocabulary = ["the", "church", "@-@", "tower", "$x_1$", "\\frac", "=\n=", "perpendicular", "日本"]
    return pd.DataFrame(
        {"generation": t, "prompt": PROMPT, "continuation": " ".join(generator.choice(vocabulary, words))}
        for t in range(generations)
    )


FIGURES = {
    "perplexity": lambda: figures.perplexity_by_generation(chain(), TEXT),
    "histograms": lambda: figures.reference_perplexity_histograms(sequences(), TEXT),
    "histograms_3d": lambda: figures.reference_perplexity_histograms_3d(sequences(), TEXT),
    "diversity": lambda: figures.diversity_by_generation(chain(), TEXT),
    "continuations": lambda: figures.continuations_page(continuations(), TEXT),
}


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def caption(figure):
    return figure.get_supxlabel().replace("\n", " ")


def steps(figure):
    (axes,) = figure.axes
    return {patch.get_label(): patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("error")
def test_figures_are_titled_drawn_at_paper_width_and_reproducible(tmp_path, name):
    figure = FIGURES[name]()
    title = figure.get_suptitle()
    assert all(part in title for part in ("OPT-125m", "replace", "seeds 0-2", "n = 36,718 sequences"))
    first = style.save(figure, tmp_path / "first", name)
    second = style.save(FIGURES[name](), tmp_path / "second", name)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    pixels = imread(first[0])[..., :3]
    assert pixels.shape[1] in (700, 1440)
    assert 0.01 < np.mean(pixels.min(axis=2) < 0.9) < 0.6


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_leaves_the_page(name):
    figure = FIGURES[name]()
    with style.paper():
        FigureCanvasAgg(figure).draw()
        box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height


def test_seeds_are_drawn_with_their_mean_and_standard_deviation():
    frame = chain()
    figure = figures.perplexity_by_generation(frame, TEXT)
    axes = figure.axes[0]
    table = frame.pivot(index="generation", columns="seed", values="test/perplexity")
    lines = [line.get_ydata() for line in axes.lines]
    for seed in table:
        assert any(np.array_equal(line, table[seed]) for line in lines)
    (mean,) = [line for line in axes.lines if line.get_label() == "test"]
    np.testing.assert_allclose(mean.get_ydata(), table.mean(axis=1))
    band = next(band for band in axes.collections if isinstance(band, FillBetweenPolyCollection))
    corners = band.get_paths()[0].vertices
    at_last = corners[corners[:, 0] == 5, 1]
    assert at_last.max() == pytest.approx(table.loc[5].mean() + table.loc[5].std(ddof=1))
    assert at_last.min() == pytest.approx(table.loc[5].mean() - table.loc[5].std(ddof=1))
    assert "n = 3 seeds" in caption(figure)


def test_one_seed_has_no_band():
    figure = figures.perplexity_by_generation(chain(seeds=1), TEXT)
    assert not figure.axes[0].collections
    assert caption(figure) == ""


@pytest.mark.parametrize(("zero_shot", "drawn"), [(60.0, True), (115.0, False)])
def test_zero_shot_is_a_line_when_near_and_a_number_when_far(zero_shot, drawn):
    frame = chain()
    frame["zero_shot/test/perplexity"] = frame["zero_shot/test/perplexity"].where(lambda v: v.isna(), zero_shot)
    axes = figures.perplexity_by_generation(frame, TEXT).axes[0]
    levels = [line for line in axes.lines if list(line.get_ydata()) == [zero_shot, zero_shot]]
    assert bool(levels) == drawn
    assert all(line.get_linestyle() == "--" for line in levels)
    assert ("zero-shot" if drawn else "zero-shot, 115 ↑") in legend(axes)
    assert (axes.get_ylim()[1] > zero_shot) == drawn


def test_true_perplexity_is_a_dotted_floor_where_known():
    axes = figures.perplexity_by_generation(chain().assign(**{"true/perplexity": 30.0}), TEXT).axes[0]
    (floor,) = [line for line in axes.lines if line.get_label() == "true distribution"]
    assert floor.get_linestyle() == ":"
    assert list(floor.get_ydata()) == [30, 30]
    without = figures.perplexity_by_generation(chain(), TEXT).axes[0]
    assert not any("true" in entry for entry in legend(without))


def test_perplexities_over_a_decade_get_a_logarithmic_axis_with_plain_numbers():
    frame = chain()
    frame.loc[frame["generation"] == 5, "test/perplexity"] = 2000.0
    figure = figures.perplexity_by_generation(frame, TEXT)
    with style.paper():
        FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    assert {"50", "100", "200", "500", "1000"} <= {label.get_text() for label in axes.get_yticklabels()}


def test_infinite_and_missing_values_are_left_out_and_counted():
    frame = chain()
    frame.loc[3, "test/perplexity"] = np.inf
    frame.loc[4, "validation/perplexity"] = np.nan
    figure = figures.perplexity_by_generation(frame, TEXT)
    assert "2 missing or infinite values not drawn." in caption(figure)
    assert "n = 2 to 3 seeds" in caption(figure)
    (mean,) = [line for line in figure.axes[0].lines if line.get_label() == "test"]
    others = frame[(frame["generation"] == 3) & (frame["seed"] > 0)]["test/perplexity"]
    assert mean.get_ydata()[3] == pytest.approx(others.mean())


def test_histograms_share_bins_and_sum_to_one_with_what_is_outside():
    frame = sequences()
    frame.loc[(frame["generation"] == 5) & (np.arange(len(frame)) % 300 == 0), "reference_perplexity"] = 500.0
    figure = figures.reference_perplexity_histograms(frame, TEXT)
    drawn = steps(figure)
    assert list(drawn) == ["real", "0", "1", "2", "3", "5"]
    assert figure.axes[0].get_xlim() == (1, 100)
    edges = drawn["0"].edges
    np.testing.assert_allclose(np.diff(np.log(edges)), np.log(100) / (len(edges) - 1))
    reported = caption(figure).partition("order shown: ")[2].removesuffix(" %.")
    for (name, data), outside in zip(drawn.items(), reported.split(", "), strict=True):
        values = frame.loc[frame["generation"] == (-1 if name == "real" else int(name)), "reference_perplexity"]
        np.testing.assert_array_equal(data.edges, edges)
        np.testing.assert_allclose(data.values, np.histogram(values, edges)[0] / len(values))
        assert data.values.sum() + float(outside) / 100 == pytest.approx(1, abs=6e-5)
    assert float(reported.split(", ")[-1]) > 0.3


def test_only_generations_asked_for_that_exist_are_drawn():
    figure = figures.reference_perplexity_histograms(sequences((0, 3)), TEXT, generations=(0, 1, 7))
    assert legend(figure.axes[0]) == ["real", "0"]
    solid = figures.reference_perplexity_histograms_3d(sequences((0, 1, 4)), TEXT)
    assert [label.get_text() for label in solid.axes[0].get_yticklabels()] == ["real", "0", "1"]


@pytest.mark.parametrize(("share", "limit"), [(0.004, 100), (0.006, 10_000)])
def test_the_axis_widens_to_the_decade_that_holds_all_but_half_a_percent(share, limit):
    frame = sequences((0,), n=5000)
    place = np.flatnonzero(frame["generation"] == 0)[: int(share * 5000)]
    frame.iloc[place, 1] = 2000.0
    axes = figures.reference_perplexity_histograms(frame, TEXT).axes[0]
    assert axes.get_xlim() == (1, limit)


def test_small_sets_get_wider_bins():
    few = steps(figures.reference_perplexity_histograms(sequences(n=60), TEXT))["0"]
    many = steps(figures.reference_perplexity_histograms(sequences(n=3000), TEXT))["0"]
    assert len(few.values) == 2 * 8
    assert len(many.values) == 2 * 25


def test_broken_reference_perplexities_are_dropped_and_counted():
    frame = sequences((0,)).reset_index(drop=True)
    frame.loc[[0, 5000, 5001], "reference_perplexity"] = [np.nan, np.inf, np.nan]
    figure = figures.reference_perplexity_histograms(frame, TEXT)
    assert "3 missing or infinite values not drawn." in caption(figure)
    assert steps(figure)["0"].values.sum() == pytest.approx(1)


def test_slices_of_the_solid_histogram_are_painted_from_the_back():
    axes = figures.reference_perplexity_histograms_3d(sequences(), TEXT).axes[0]
    order = [collection.zorder for collection in axes.collections]
    assert order == sorted(order, reverse=True)
    assert order[-1] > 0
    assert [label.get_text() for label in axes.get_xticklabels()] == ["$10^{0}$", "$10^{1}$", "$10^{2}$"]


def test_diversity_has_a_panel_a_measure_and_the_real_share_beside_the_tails():
    frame = chain()
    figure = figures.diversity_by_generation(frame, TEXT)
    drawn = {axes.get_ylabel(): axes for axes in figure.axes}
    assert len(drawn) == 6
    bigrams = drawn["distinct bigrams"].lines[-1].get_ydata()
    np.testing.assert_allclose(bigrams, 0.3 * 0.9 ** np.arange(6))
    levels = [axes for axes in figure.axes if any(list(line.get_ydata()) == [0.01] * 2 for line in axes.lines)]
    assert [axes.get_ylabel().split("\n")[0] for axes in levels] == ["sequences below", "sequences above"]


def test_a_measure_without_values_says_so():
    frame = chain().assign(**{"synthetic/distinct_2": np.nan})
    figure = figures.diversity_by_generation(frame, TEXT)
    assert [text.get_text() for text in figure.axes[0].texts] == ["not measured"]
    assert "18 missing or infinite values not drawn." in caption(figure)


def written(figure):
    return [text.get_text() for text in figure.texts]


def test_continuations_are_written_whole_where_they_fit():
    frame = continuations(3, 40)
    page = " ".join(written(figures.continuations_page(frame, TEXT)))
    assert PROMPT in page
    for generation, continuation in zip(frame["generation"], frame["continuation"], strict=True):
        assert f"generation {generation} {style.printable(continuation, style.SERIF)}" in page


@pytest.mark.parametrize(("generations", "words"), [(2, 900), (12, 300), (20, 100)])
def test_long_continuations_are_shortened_to_a_page(generations, words):
    figure = figures.continuations_page(continuations(generations, words), TEXT)
    lines = written(figure)
    assert figure.get_figheight() <= 9.7
    assert sum(line.endswith("…") for line in lines) == generations
    assert [f"generation {t}" in lines for t in range(generations)] == [True] * generations


def test_more_generations_than_fit_are_thinned_out_and_counted():
    figure = figures.continuations_page(continuations(60, 20), TEXT)
    names = [line for line in written(figure) if line.startswith("generation ")]
    assert (names[0], names[-1], len(names)) == ("generation 0", "generation 59", 20)
    assert caption(figure) == "20 of 60 generations shown."


def test_a_page_takes_one_prompt_and_one_continuation_a_generation():
    frame = continuations(3)
    with pytest.raises(ValueError, match="one prompt"):
        figures.continuations_page(frame.assign(prompt=["a", "b", "a"]), TEXT)
    with pytest.raises(ValueError, match="one continuation"):
        figures.continuations_page(pd.concat([frame, frame]), TEXT)


@pytest.mark.parametrize(
    ("draw", "frame"),
    [
        (figures.perplexity_by_generation, chain().drop(columns="seed")),
        (figures.diversity_by_generation, chain().drop(columns="synthetic/distinct_2")),
        (figures.reference_perplexity_histograms, sequences().drop(columns="generation")),
        (figures.continuations_page, continuations().drop(columns="prompt")),
    ],
)
def test_missing_columns_are_named(draw, frame):
    with pytest.raises(ValueError, match=r"lacks (seed|synthetic/distinct_2|generation|prompt);"):
        draw(frame, TEXT)


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no finite"):
        figures.reference_perplexity_histograms(sequences().assign(reference_perplexity=np.nan), TEXT)
    with pytest.raises(ValueError, match="no finite"):
        figures.diversity_by_generation(chain().map(lambda _: np.nan).assign(generation=0, seed=range(18)), TEXT)
