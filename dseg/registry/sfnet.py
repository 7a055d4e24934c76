"""Registry entries of SFNet."""

from __future__ import annotations

from typing import Any

from dseg.registry.spec import ModelSpec

RELEASE: dict[str, Any] = {
    "source": "github.com/lxtGH/SFSegNets",
    "licence": "MIT (the repository's README)",
}

SFNETS: dict[str, ModelSpec] = {
    "sfnet_r18": ModelSpec(
        **RELEASE,
        title="SFNet",
        paper="Li et al., ECCV 2020",
        target="sfnet:SFNet",
        params=12_869_715,
        macs=242_964_627_456,
        goldens=("sfnet_r18_lxtgh",),
        link="drive.google.com/file/d/1X7w1HYrSXOJBkfRJuxtXdmR0BXUR-hR8",
        published="Cityscapes val 79.0, with Mapillary too 79.9",
        score=79.0,
        recipe="sfnet",
    ),
    "sfnet_lite_r18": ModelSpec(
        **RELEASE,
        title="SFNet-Lite",
        paper="Li et al., IJCV 2023",
        target="sfnet:SFNetLite",
        params=12_079_863,
        macs=177_947_148_288,
        goldens=("sfnet_lite_r18_lxtgh",),
        link="drive.google.com/file/d/1ifpyw3qEAzpzzKL_mZANrXJ_WfcaIWre",
        published="the paper: Cityscapes test 80.1",
        score=80.1,
        recipe="sfnet_lite",
    ),
}
