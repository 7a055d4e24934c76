"""Backbones: image classification networks turned into dense feature extractors."""
