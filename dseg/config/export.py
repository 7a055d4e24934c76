"""Configuration of ``dseg export``: what is written, and how it is quantised and verified."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from dseg.config.fields import inplace_abn_field, option, raw_weights_field
from dseg.errors import DsegError
from dseg.labels import LABEL_SPACES

FORMATS = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
METHODS = ("minmax", "percentile", "entropy", "mse")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """A network, and the file to export it to.

    Attributes:
        model: name of the network; None to identify it by its checkpoint.
        out: file to write; None for one in the working directory, named after the checkpoint.
        format: ``onnx``, ``openvino`` or ``torch``.
        size: (height, width) of the only size of image; None for any.
        precision: ``fp32``, ``fp16`` or ``int8``.
        input: ``float``, normalised; or ``uint8``, RGB, with the normalisation in the graph.
        output: ``logits`` at the network's stride, or ``labels``, train ids at the image's size.
        img_dir: images to calibrate and verify with; None for drawn scenes.
        calibration: how ranges of activations are found for int8.
        activations: their type: ``uint8`` with a zero point, or symmetric ``int8``.
        count: number of images to calibrate with.
        keep_float: layers that are not quantised: ``input``: those that read the image; ``auto``:
            those that cost labels by measurement; ``none``; or names.
        licence: licence of the file, written into its metadata; empty for that of the weights.
        check: verify the file against PyTorch.
        compare: score several precisions in place of writing a file.
        dataset, data_dir, split, label_space: what is scored.
        inplace_abn, raw_weights: how the checkpoint is read, as in ``TrainConfig``.

    Raises:
        DsegError: options contradict each other.
    """

    model: str | None = option(
        "--model",
        group="Network",
        default=None,
        kind="network",
        metavar="NAME",
        help="Network (default: identified by the checkpoint).",
    )
    out: Path | None = option(
        *("-o", "--out"),
        group="Results",
        default=None,
        kind="file",
        metavar="FILE",
        help="File to write (default: the checkpoint's name with the format's suffix, here).",
    )
    format: str = option(
        "--format",
        group="Results",
        default="onnx",
        choices=tuple(FORMATS),
        help="onnx: for ONNX Runtime, OpenVINO, TensorRT; openvino: .xml and .bin; torch: .pt2 of "
        "torch.export.",
    )
    size: tuple[int, int] | None = option(
        "--size",
        group="Results",
        default=None,
        kind="size or dynamic",
        metavar="HxW|dynamic",
        shown_default="dynamic",
        help="The only image size that the file accepts, one image at a time; dynamic: any size "
        "and number of images.",
    )
    precision: str = option(
        "--precision",
        group="Results",
        default="fp32",
        choices=("fp32", "fp16", "int8"),
        help="Precision of the weights; int8 is calibrated on images.",
    )
    input: str = option(
        "--input",
        group="Results",
        default="float",
        choices=("float", "uint8"),
        help="float: (N, 3, H, W), normalised; uint8: (N, H, W, 3) RGB, normalised within.",
    )
    output: str = option(
        "--output",
        group="Results",
        default="logits",
        choices=("logits", "labels"),
        help="logits: scores at the network's stride; labels: train ids at the image's size.",
    )
    img_dir: Path | None = option(
        "--img-dir",
        group="Quantisation",
        default=None,
        kind="folder",
        metavar="DIR",
        help="Folder of images for calibration and verification; int8 and --compare need it "
        "(default: verify with drawn scenes).",
    )
    calibration: str = option(
        "--calibration",
        group="Quantisation",
        default="mse",
        choices=(*METHODS, "all"),
        help="How int8 ranges are found: smallest and largest value, percentile 99.99, least KL "
        "divergence, or least squared error; all: each of them, to --compare.",
    )
    activations: str = option(
        "--activations",
        group="Quantisation",
        default="uint8",
        choices=("uint8", "int8"),
        help="Type of int8 networks' activations: uint8 is faster on CPUs; TensorRT needs int8.",
    )
    count: int = option(
        "--count",
        group="Quantisation",
        default=64,
        low=1,
        metavar="N",
        help="Largest number of images for calibration, evenly spread over --img-dir.",
    )
    keep_float: str = option(
        "--keep-float",
        group="Quantisation",
        default="input",
        metavar="input|auto|none|LIST",
        help="Layers that are not quantised: those that read the image, those that cost labels by "
        "measurement, none, or names separated by commas.",
    )
    licence: str = option(
        "--licence",
        group="Results",
        default="",
        metavar="TEXT",
        help="Licence for the file's metadata.",
    )
    check: bool = option(
        "--check/--no-check",
        group="Results",
        default=True,
        help="Compare the file with PyTorch; exit with code 4 if too many labels differ.",
    )
    compare: bool = option(
        "--compare",
        group="Comparison",
        default=False,
        help="Write no file; score fp32, bf16, fp16 and int8 on --dataset, and print a table.",
    )
    dataset: str | None = option(
        "--dataset",
        group="Comparison",
        default=None,
        kind="dataset",
        metavar="NAME",
        help="Data set in --data-dir that --compare scores.",
    )
    data_dir: Path | None = option(
        "--data-dir",
        group="Comparison",
        default=None,
        kind="folder",
        metavar="DIR",
        help="Folder of the data set.",
    )
    split: str = option(
        "--split",
        group="Comparison",
        default="val",
        metavar="NAME",
        help="Split that --compare scores.",
    )
    label_space: str | None = option(
        "--label-space",
        group="Comparison",
        default=None,
        choices=tuple(LABEL_SPACES),
        help="Classes onto which the data set's masks are mapped (default: its own).",
    )
    inplace_abn: bool | None = inplace_abn_field()
    raw_weights: bool = raw_weights_field()

    def __post_init__(self) -> None:
        if self.compare:
            self._refuse_options_of_files()
        if (self.precision == "int8" or self.compare) and self.img_dir is None:
            raise DsegError(
                f"{'--compare' if self.compare else 'int8'} needs images to calibrate on.",
                hint="name a folder of images like those to come: --img-dir DIR.",
            )
        if self.compare and (self.dataset is None or self.data_dir is None):
            raise DsegError(
                "No data set is named to compare on.",
                hint="name one: --dataset NAME --data-dir DIR.",
            )
        if self.calibration == "all" and not self.compare:
            raise DsegError(
                "A file is calibrated by one method.",
                hint=f"choose one of: {', '.join(METHODS)}; or --compare all of them.",
            )
        if self.format == "torch" and self.precision != "fp32":
            raise DsegError(
                f"The torch format is not written in {self.precision}.",
                hint="use --format onnx or openvino, or --precision fp32.",
            )
        if self.size is not None and min(self.size) < 1:
            raise DsegError(
                f"An image of {self.size[0]}x{self.size[1]} has no pixels.",
                hint="use sides above 0: --size HxW.",
            )

    def _refuse_options_of_files(self) -> None:
        """Refuse the options of a file, which ``compare`` does not write."""
        own = {field.name: field.default for field in fields(self)}
        for name in ("out", "format", "precision", "input", "output", "licence", "check"):
            if getattr(self, name) != own[name]:
                flag = "no-check" if name == "check" else name
                raise DsegError(
                    f"--compare writes no file: --{flag} has no effect.",
                    hint=f"leave --{flag} out; all precisions are compared.",
                )

    def target(self, weights: Path) -> Path:
        """Return the file to write for a checkpoint.

        Raises:
            DsegError: the named file has no name, or the suffix of another format.
        """
        suffix = FORMATS[self.format]
        if self.out is None:
            ending = "" if self.precision == "fp32" else f"-{self.precision}"
            return Path(f"{weights.stem}{ending}{suffix}")
        if self.out.name in ("", "..", suffix):
            raise DsegError(
                f"{self.out} has no name before its suffix.",
                hint=f"name a file that ends with {suffix}: --out FILE.",
            )
        if self.out.suffix != suffix:
            raise DsegError(
                f"{self.out} does not end with {suffix}, as files of the format {self.format} do.",
                hint=f"name {self.out.with_suffix(suffix)}, or another --format.",
            )
        return self.out
