"""Figures for papers: functions from data frames to matplotlib figures.

`style` holds what all figures share, `curves` metrics against the generation; figures of a family are in its folder.
"""

from modelcollapse.surroundings import own_matplotlib

own_matplotlib()
