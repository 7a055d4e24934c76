"""Checkpoint files from the network: the cache, downloads that resume, and Hugging Face."""

from dseg.downloads.display import SILENT, Display, current_display, showing
from dseg.downloads.errors import NoNetworkError
from dseg.downloads.fetching import fetch
from dseg.downloads.folders import cache_folder, find_in_folder, find_own, own_folders
from dseg.downloads.hub import find_hub_file, is_hub_address
from dseg.downloads.named import (
    advise,
    describe_size,
    download_file,
    file_of,
    find_named,
    size_of,
)
from dseg.downloads.source import Source, mirror_address, mirrored

__all__ = [
    "SILENT",
    "Display",
    "NoNetworkError",
    "Source",
    "advise",
    "cache_folder",
    "current_display",
    "describe_size",
    "download_file",
    "fetch",
    "file_of",
    "find_hub_file",
    "find_in_folder",
    "find_named",
    "find_own",
    "is_hub_address",
    "mirror_address",
    "mirrored",
    "own_folders",
    "showing",
    "size_of",
]
