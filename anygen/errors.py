"""Every error a user can cause or meet, with a stable code.

Messages are one line: what was found, what is expected, what to do. They never carry a memory address, a
traceback or a path the user did not give.
"""

from __future__ import annotations


class AnyGenError(Exception):
    """Base of all errors raised for a user's reason; `code` is stable across releases."""

    code = "error"


class BadArgument(AnyGenError, ValueError):
    """An argument has a wrong value or type."""

    code = "bad_argument"


class BadMedia(AnyGenError, ValueError):
    """A media file or array cannot be understood."""

    code = "bad_media"


class BadText(AnyGenError, ValueError):
    """A text is empty, too long or not valid Unicode."""

    code = "bad_text"


class LimitExceeded(AnyGenError, ValueError):
    """An input or a request is larger than the limits allow."""

    code = "limit_exceeded"


class LicenceNotAccepted(AnyGenError):
    """The model has parts whose licences restrict their use, and nobody accepted them yet."""

    code = "licence_not_accepted"


class MissingPart(AnyGenError):
    """The model lacks a part (file, tower, decoder) that the request needs."""

    code = "missing_part"


class WeightsMismatch(AnyGenError):
    """Weights do not have exactly the names, shapes or types that the model has."""

    code = "weights_mismatch"


class CheckpointCorrupt(AnyGenError):
    """A file does not have the hash that its manifest promises, or a file is missing."""

    code = "checkpoint_corrupt"


class Cancelled(AnyGenError):
    """The caller asked to stop."""

    code = "cancelled"


class OutOfMemory(AnyGenError):
    """Memory ran out."""

    code = "out_of_memory"


class NonFinite(AnyGenError):
    """A NaN or infinity appeared where only finite numbers make sense."""

    code = "non_finite"


class SaveFailed(AnyGenError):
    """The disk refused what had to be written; what was there before is untouched."""

    code = "save_failed"
