"""What people look at: functions from data frames to matplotlib figures, ready for a paper.

`style` holds what all figures share, `language_model` the figures of language-model chains.
"""
