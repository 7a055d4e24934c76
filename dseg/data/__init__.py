"""The way into the network: sampling, augmentation, batches, caches of decoded images."""
