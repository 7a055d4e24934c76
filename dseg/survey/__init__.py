"""Look at a folder of images and masks of unknown layout, and write its class file."""

from dseg.survey.class_text import make_class_text
from dseg.survey.look import Survey, look_at
from dseg.survey.remarks import make_remarks
from dseg.survey.sheet import make_sheet

__all__ = ["Survey", "look_at", "make_class_text", "make_remarks", "make_sheet"]
