"""The table of checkpoint files: where each is found, its digest, licence and training data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from dseg.registry.spec import ModelSpec
from dseg.tomlio import parse_toml

DIGEST_LENGTH = 64  # of a whole SHA-256 in hexadecimal


@dataclass(frozen=True, kw_only=True)
class DataTerms:
    """Terms of a data set that networks were trained on.

    Attributes:
        title: its name.
        terms: its terms, as far as known, in words.
        non_commercial: True if its images permit only non-commercial use or research, False if
            they permit any, None if that is not settled.
    """

    title: str
    terms: str
    non_commercial: bool | None = None


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A checkpoint file that can be downloaded, is bundled, or has to be fetched by hand.

    Attributes:
        name: name for ``dseg download``.
        network: key of the registry; empty for the weights of a backbone.
        file: path in a folder of weights; empty if the authors' file name is not known.
        url: address; empty for a bundled file and for one to be fetched by hand.
        size: size in bytes, to about 500 bytes; 0 if unknown.
        sha256: SHA-256 in hexadecimal, or its first digits; empty if unknown.
        licence: licence of the file as its authors state it; empty if they state none.
        data: data sets that the weights were trained on.
        label_space: classes of the outputs; empty for a backbone.
        score: score with its data set, as text.
        score_source: who states the score.
        source: the authors' release, without ``https://``.
        link: page or address for a download by hand, without ``https://``.
        bundled: whether the file is installed with dseg.
    """

    name: str
    network: str
    file: str
    url: str = ""
    size: int = 0
    sha256: str = ""
    licence: str = ""
    data: tuple[DataTerms, ...] = ()
    label_space: str = ""
    score: str = ""
    score_source: str = ""
    source: str = ""
    link: str = ""
    bundled: bool = False

    @property
    def non_commercial_data(self) -> bool | None:
        """True if any data set permits only non-commercial use; None if that is not settled."""
        known = [data.non_commercial for data in self.data]
        if True in known:
            return True
        return None if None in known or not known else False

    @property
    def data_terms(self) -> str:
        """The data sets with their terms, in words."""
        return "; ".join(f"{data.title}: {data.terms}" for data in self.data)

    def has_digest(self, sha256: str) -> bool:
        """Return True if a whole SHA-256 in hexadecimal is that of the file."""
        return bool(self.sha256) and sha256.startswith(self.sha256)

    def facts(self) -> dict[str, Any]:
        """Return the facts for JSON."""
        return {
            "name": self.name,
            "file": self.file,
            "url": self.url or None,
            "manual_link": self.link or None,
            "bytes": self.size or None,
            "sha256": self.sha256 or None,
            "licence": self.licence or None,
            "label_space": self.label_space or None,
            "trained_on": [data.title for data in self.data],
            "data_terms": self.data_terms or None,
            "non_commercial_data": self.non_commercial_data,
            "score": self.score or None,
            "score_source": self.score_source or None,
            "source": self.source or None,
        }


@cache
def weight_files() -> dict[str, WeightFile]:
    """Return the files of ``weights.toml`` by name, in its order."""
    table = _read_table()
    data = {name: DataTerms(**fields) for name, fields in table["data"].items()}
    found = {}
    for name, fields in table["file"].items():
        terms = tuple(data[key] for key in fields.pop("data"))
        own = {"network": name, "bundled": "url" not in fields, **fields}
        found[name] = WeightFile(name=name, data=terms, **own)
    return found


def find_by_digest(sha256: str) -> WeightFile | None:
    """Return the file with a whole SHA-256 in hexadecimal; None if the table lacks it."""
    return next((file for file in weight_files().values() if file.has_digest(sha256)), None)


def manual_file(name: str, spec: ModelSpec) -> WeightFile | None:
    """Return the authors' file of a network, which has to be fetched by hand.

    None if they published none. Its training data are taken from its label space.
    """
    if not (spec.weights or spec.link):
        return None
    data = _read_table()["data"]
    return WeightFile(
        name=name,
        network=name,
        file=spec.weights,
        licence=spec.licence,
        data=(DataTerms(**data[spec.label_space]),) if spec.label_space in data else (),
        label_space=spec.label_space,
        score=spec.published,
        score_source=f"its authors ({spec.source})" if spec.published else "",
        source=spec.source,
        link=spec.link,
    )


def _read_table() -> dict[str, Any]:
    text = (files("dseg") / "registry" / "weights.toml").read_text(encoding="utf-8")
    return parse_toml(text)
