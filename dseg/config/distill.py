"""Configuration of a distillation: teachers, losses, and images without masks."""

from __future__ import annotations

from dataclasses import dataclass

from dseg.config.fields import option
from dseg.errors import DsegError, counted
from dseg.jsonio import show

DISTILL_CHOICES = ("logits", "channels", "both")
RANGES = {
    "logits_weight": (0, 1000),
    "channels_weight": (0, 1000),
    "temperature": (0.1, 100),
    "unlabelled_ratio": (0.01, 100),
}


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """What the network learns from teachers, beside what it learns from masks.

    Attributes:
        teachers: ``(file, SHA-256)`` of each teacher; of several, the mean of their probabilities
            is taught.
        teacher_models: name of the network of each teacher; empty to identify them by their files.
        distill: ``logits``, see ``logits_loss``; ``channels``, see ``channels_loss``; or ``both``.
        logits_weight, channels_weight: weights of these losses; that of the masks is 1.
        temperature: divisor of the logits in both losses.
        unlabelled: folders of images without masks.
        unlabelled_ratio: number of images without masks per image with a mask in each batch.

    Raises:
        DsegError: a value is out of range.
    """

    teachers: tuple[tuple[str, str], ...]
    teacher_models: tuple[str, ...] = option(
        "--teacher-model",
        group="Teacher",
        default=(),
        kind="network",
        metavar="NAME",
        help="Network of the teacher, if its file does not tell; once for each --teacher.",
    )
    distill: str = option(
        "--distill",
        group="Teacher",
        default="both",
        choices=DISTILL_CHOICES,
        help="What is compared with the teacher: the class probabilities of each pixel (logits), "
        "where in the image each class is (channels), or both.",
    )
    logits_weight: float = option(
        "--logits-weight",
        group="Teacher",
        default=1.0,
        low=0,
        high=1000,
        metavar="W",
        help="Weight of the logits loss; that of the loss of the masks is 1.",
    )
    channels_weight: float = option(
        "--channels-weight",
        group="Teacher",
        default=1.0,
        low=0,
        high=1000,
        metavar="W",
        help="Weight of the channels loss.",
    )
    temperature: float = option(
        "--temperature",
        group="Teacher",
        default=4.0,
        low=0.1,
        high=100,
        metavar="T",
        help="Divisor of the logits of teacher and network before they are compared.",
    )
    unlabelled: tuple[str, ...] = option(
        "--unlabelled",
        group="Data",
        default=(),
        kind="folder",
        metavar="DIR",
        help="Folder of images without masks, on which the teacher alone is followed; may be "
        "repeated.",
    )
    unlabelled_ratio: float = option(
        "--unlabelled-ratio",
        group="Data",
        default=1.0,
        low=0.01,
        high=100,
        metavar="R",
        help="Images without masks per image with a mask in each batch.",
    )

    def __post_init__(self) -> None:
        wrong = {
            name: not low <= getattr(self, name) <= high for name, (low, high) in RANGES.items()
        }
        wrong |= {"teachers": not self.teachers, "distill": self.distill not in DISTILL_CHOICES}
        for name, is_wrong in wrong.items():
            if is_wrong:
                raise DsegError(
                    f"{name} cannot be {show(getattr(self, name))}.",
                    hint="dseg distill --help lists the accepted values.",
                )
        if len(self.teacher_models) not in (0, len(self.teachers)):
            raise DsegError(
                f"--teacher-model is given {counted(len(self.teacher_models), 'time')} for "
                f"{counted(len(self.teachers), 'teacher')}.",
                hint="name the network of every --teacher, in their order, or of none.",
            )

    def refuse_useless(self) -> None:
        """Raise DsegError if no loss with a teacher has a weight, or two teachers are the same."""
        weights = {"logits": self.logits_weight, "channels": self.channels_weight}
        compared = weights if self.distill == "both" else {self.distill: weights[self.distill]}
        if not any(compared.values()):
            raise DsegError(
                f"Nothing is learnt from the teacher: the weight of {' and '.join(compared)} is 0.",
                hint="give a --logits-weight or --channels-weight above 0, or use dseg train.",
            )
        seen: dict[str, str] = {}
        for file, digest in self.teachers:
            if digest in seen:
                raise DsegError(
                    f"The teachers {seen[digest]} and {file} are the same.",
                    hint="name each teacher once.",
                )
            seen[digest] = file

    @property
    def digests(self) -> tuple[str, ...]:
        """The SHA-256 of each teacher."""
        return tuple(digest for _, digest in self.teachers)
