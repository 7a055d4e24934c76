"""Backbones: image classification networks as dense feature extractors."""
