"""Scorer: the scores of an image or a piece of it, over all views that the protocol names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.memory import is_out_of_memory
from dseg.models import Normaliser, SegModel
from dseg.predict.copies import stack_to_device
from dseg.predict.faults import compile_error
from dseg.predict.resizing import View
from dseg.predict.sliding import slide
from dseg.protocol import Protocol, Size

ViewsAt = Callable[[float], Sequence[View]]  # N images of one size, or a piece of one, at a scale


class Scorer:
    """A network and its protocol, from pixels to scores.

    Args:
        model: in evaluation mode, on its device.
        protocol: the views, and how they are made and fused.
        amp: the precision within the network; None for float32.
        device: where the network is.
    """

    def __init__(
        self, model: SegModel, protocol: Protocol, amp: torch.dtype | None, device: torch.device
    ):
        self.model, self.protocol, self.amp, self.device = model, protocol, amp, device
        self._normalise = Normaliser(model.card, device)
        self._forward = model.logits
        self._compiled = False
        self._seen: set[torch.Size] = set()  # shapes that were compiled for

    def compile(self) -> None:
        """Compile the network, when it first computes; each size of a view for itself."""
        self._forward = torch.compile(self.model.logits, dynamic=False)
        self._compiled = True

    @property
    def align_corners(self) -> bool:
        """Whether corners are aligned where scores at the input's size return to the image's."""
        if self.protocol.restore == "direct":
            return self.model.align_corners
        return self.protocol.restore == "bilinear-corners"

    def fused(self, views_at: ViewsAt, out: Size) -> Tensor:
        """Return the scores (N, K, H, W) of images of one size or of a piece, fused over all views.

        Args:
            views_at: returns the N images at a scale, (h, w, 3) RGB in 0..255; of sliding tiles
                one.
            out: (H, W).
        """
        protocol = self.protocol
        per_tile = protocol.sliding and protocol.per_tile  # flipped and fused there
        flips = (False, True) if protocol.flip and not per_tile else (False,)
        total: Tensor | None = None
        for scale in protocol.scales:
            view = self._normalised(views_at(scale))
            seen = view.shape[-2], view.shape[-1]
            for flipped in flips:
                scores = self._view_scores(view.flip(-1) if flipped else view, scale)
                scores = scores.flip(-1) if flipped else scores
                scores = self._restored(scores, seen, out)
                if protocol.fusion == "prob" and not per_tile:
                    scores = scores.softmax(1)
                total = scores if total is None else total.add_(scores)
        assert total is not None
        views = len(protocol.scales) * len(flips)
        return total if views == 1 else total.div_(views)

    def _view_scores(self, view: Tensor, scale: float) -> Tensor:
        """Return the scores of a view: whole, as small as the network's logits, or of its tiles."""
        if not self.protocol.sliding:
            return self._logits(view)
        black = self._normalise(torch.zeros_like(view[..., :1, :1]))
        return slide(view, self.protocol, scale, self._tile_logits, black)

    def _tile_logits(self, tile: Tensor) -> Tensor:
        """Return the logits of a normalised tile at its own size."""
        height, width = tile.shape[-2:]
        return self._upsampled(self._logits(tile), (height, width))

    def _restored(self, scores: Tensor, seen: Size, out: Size) -> Tensor:
        """Resize scores of a view of that size to ``out``."""
        if self.protocol.restore in ("bilinear", "bilinear-corners") and seen != out:
            scores = self._upsampled(scores, seen)
            return F.interpolate(scores, out, mode="bilinear", align_corners=self.align_corners)
        return self._upsampled(scores, out)

    def _upsampled(self, scores: Tensor, size: Size) -> Tensor:
        """Resize the network's logits as its authors do."""
        if self.protocol.upsample == "bicubic" and scores.shape[-2:] != size:
            return F.interpolate(scores, size, mode="bicubic", align_corners=False)
        return self.model.resize(scores, *size)

    def _normalised(self, images: Sequence[View]) -> Tensor:
        """Return (N, 3, H, W) float32, channels last."""
        return self._normalise(stack_to_device(images, self.device).permute(0, 3, 1, 2))

    def _logits(self, view: Tensor) -> Tensor:
        """Return the logits of a view, as small as the network gives them."""
        height, width = view.shape[-2:]
        view = self.model.pad(self._pad(view))
        enabled = self.amp is not None
        with torch.autocast(self.device.type, dtype=self.amp, enabled=enabled):
            scores = self._main_logits(view)
        scores = scores.float()
        if view.shape[-2:] != (height, width):
            padded = view.shape[-2], view.shape[-1]
            scores = self._upsampled(scores, padded)[..., :height, :width]
        return scores

    def _main_logits(self, view: Tensor) -> Tensor:
        """Return what the network itself computes.

        Raises:
            CompileError: it is to be compiled, and cannot be.
        """
        if not self._compiled or view.shape in self._seen:
            return self._forward(view)[0]
        try:
            found = self._forward(view)[0]
            self._seen.add(view.shape)
            return found
        except Exception as fault:  # the compiler's are of many kinds, and those of what it calls
            if is_out_of_memory(fault):
                raise
            raise compile_error(self.model.card.network, fault) from fault

    def _pad(self, view: Tensor) -> Tensor:
        """Pad a normalised view with zeros, as the protocol says."""
        multiple, remainder = self.protocol.pad_multiple, self.protocol.pad_remainder
        down, right = ((remainder - side) % multiple for side in view.shape[-2:])
        return F.pad(view, (0, right, 0, down)) if down or right else view
