"""Names of the files inside VAE pieces."""

NETWORK_FILE = "network.safetensors"
DECODER_FILE = "decoder.safetensors"
STREAM_FILE = "stream.json"
TRAINING_FILE = "training.jsonl"
METRICS_FILE = "metrics.json"
MEASURED_FILE = "measured.safetensors"
