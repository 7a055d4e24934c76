"""Caches of decoded images: in a file, shared by a machine's processes, and on the device."""
