"""The language-model family: OPT fine-tuned on the synthetic sets of earlier generations."""
