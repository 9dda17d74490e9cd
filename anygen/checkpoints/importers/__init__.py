"""Official checkpoints into safetensors folders, strictly."""
