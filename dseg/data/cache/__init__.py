"""Caches of decoded images: a file, one a machine, and one on the device."""
