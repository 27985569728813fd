"""Names of the files inside language-model pieces."""

TRAINING_FILE = "training.jsonl"
METRICS_FILE = "metrics.json"
SEQUENCES_FILE = "sequences.safetensors"
CONTINUATIONS_FILE = "continuations.json"
