"""The registry of networks: data only, one ModelSpec per network; all lists derive from it."""

from __future__ import annotations

from dseg.errors import DsegError, suggest
from dseg.registry.attention import ATTENTION
from dseg.registry.bisenet import BISENETS
from dseg.registry.denseaspp import DENSEASPP
from dseg.registry.espnet import ESPNETS
from dseg.registry.gald import GALD_NETS
from dseg.registry.pyramids import PYRAMIDS
from dseg.registry.realtime import REALTIME
from dseg.registry.semseg import SEMSEG_NETS
from dseg.registry.spec import ModelSpec

__all__ = ["MODELS", "ModelSpec", "find_model", "plain_name"]

MODELS: dict[str, ModelSpec] = {
    **DENSEASPP,
    **REALTIME,
    **BISENETS,
    **ESPNETS,
    **GALD_NETS,
    **ATTENTION,
    **SEMSEG_NETS,
    **PYRAMIDS,
}


def plain_name(name: str) -> str:
    """Return a name for comparison: in lower case, without ``-``, ``_`` and spaces."""
    return "".join(c for c in name.lower() if c not in "-_ ")


def find_model(name: str) -> str:
    """Return the key of ``MODELS`` for a name; case, ``-``, ``_`` and spaces do not matter.

    Raises:
        DsegError: unknown network; the hint names the nearest ones.
    """
    keys = {plain_name(key): key for key in MODELS}
    if plain_name(name) in keys:
        return keys[plain_name(name)]
    guess = suggest(name, MODELS, most=3, cutoff=0.5, key=plain_name)
    raise DsegError(f"Unknown network {name!r}.", hint=f"{guess}List all: dseg models")
