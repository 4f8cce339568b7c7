"""Numbers in a reference file that no reference has, though its digests are right."""

from __future__ import annotations

import numpy as np

from qpipe.errors import DataError
from qpipe.evaluators.reference_files import layout, reading
from qpipe.evaluators.reference_files.header import FileHeader

_STEP = 1 << 24


def check(header: FileHeader) -> None:
    """Raise DataError for distributions that are none, token ids beyond the vocabulary, and windows
    or likelihoods that are not what the header says."""
    reading.tokenized(header)
    reading.nll(header, header.about.protocol.scored)
    reading.documents(header)
    for name in (layout.SCALE, layout.LOW, layout.TOP, layout.REST, layout.REST_PLOGP):
        if name in header.tensors and not np.isfinite(reading.tensor(header, name)).all():
            raise DataError(f"{header.path}: tensor {name!r} has a value that is no number")
    if layout.LIKELIEST not in header.tensors:
        return
    n_vocab, ids = header.about.stored.n_vocab, reading.tensor(header, layout.LIKELIEST)
    step = max(1, _STEP // ids.shape[1])
    for at in range(0, len(ids), step):
        if int(ids[at : at + step].max()) >= n_vocab:
            raise DataError(
                f"{header.path}: tensor {layout.LIKELIEST!r} names tokens beyond the vocabulary of "
                f"{n_vocab:,}"
            )
