"""Passing a trained network on: as a folder of safetensors with a model card, to a hub and back, and as ONNX."""
