"""Training data: sampling, augmentation, batches, and caches of decoded images."""
