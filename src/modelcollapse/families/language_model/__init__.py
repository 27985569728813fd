"""The language-model family: OPT fine-tuning on what earlier generations wrote."""
