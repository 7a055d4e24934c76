"""Label transfer: convert masks between colours, train ids and label ids."""

from dseg.transfer.files import Transferred, detect_ids, transfer_files
from dseg.transfer.jobs import TransferJob, find_jobs, is_official_name
from dseg.transfer.mask import Coding, check_unknown, transfer_mask

__all__ = [
    "Coding",
    "TransferJob",
    "Transferred",
    "check_unknown",
    "detect_ids",
    "find_jobs",
    "is_official_name",
    "transfer_files",
    "transfer_mask",
]
