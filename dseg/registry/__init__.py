"""The registry of networks: data only, one ModelSpec per network; all lists derive from it.

Packages add their own by the entry points of the group ``dseg.models``.
"""

from __future__ import annotations

from dseg.errors import DsegError, suggest
from dseg.plugins import Table
from dseg.registry.attention import ATTENTION
from dseg.registry.bilateral import BILATERAL
from dseg.registry.bisenet import BISENETS
from dseg.registry.denseaspp import DENSEASPP
from dseg.registry.efficientvit import EFFICIENTVITS
from dseg.registry.espnet import ESPNETS
from dseg.registry.gald import GALD_NETS
from dseg.registry.gcnet import GCNETS
from dseg.registry.lraspp import LRASPP_NETS
from dseg.registry.own_data import OWN_DATA
from dseg.registry.pyramids import PYRAMIDS
from dseg.registry.realtime import REALTIME
from dseg.registry.semseg import SEMSEG_NETS
from dseg.registry.sfnet import SFNETS
from dseg.registry.spec import ModelSpec

__all__ = ["MODELS", "ModelSpec", "find_model", "plain_name"]


def plain_name(name: str) -> str:
    """Return a name for comparison: in lower case, without ``-``, ``_`` and spaces."""
    return "".join(c for c in name.lower() if c not in "-_ ")


MODELS: Table[ModelSpec] = Table(
    {
        **DENSEASPP,
        **REALTIME,
        **BISENETS,
        **BILATERAL,
        **GCNETS,
        **EFFICIENTVITS,
        **LRASPP_NETS,
        **SFNETS,
        **ESPNETS,
        **GALD_NETS,
        **ATTENTION,
        **SEMSEG_NETS,
        **PYRAMIDS,
        **OWN_DATA,
    },
    group="dseg.models",
    kind=ModelSpec,
    what="network",
    key=plain_name,
    check=ModelSpec.check,
)


def find_model(name: str) -> str:
    """Return the key of ``MODELS`` for a name; case, ``-``, ``_`` and spaces do not matter.

    Raises:
        DsegError: unknown network, or one of a package that cannot be loaded.
    """
    wanted = plain_name(name)
    for known in (MODELS.built_in, MODELS):  # entry points are read only if need be
        keys = {plain_name(key): key for key in known}
        if wanted in keys:
            return keys[wanted]
    MODELS.refuse_broken(name)
    guess = suggest(name, MODELS, most=3, cutoff=0.5, key=plain_name)
    raise DsegError(f"Unknown network {name!r}.", hint=f"{guess}List all: dseg models")
