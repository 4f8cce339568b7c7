"""`python cuda_cards.py LIBRARY`: print the UUID of each GPU that CUDA shows, one a line, in order.

A program by itself, as a process that has once asked CUDA can neither fork one that computes there
nor change CUDA_VISIBLE_DEVICES any more. Standard library only; nothing of qpipe is imported.
"""

from __future__ import annotations

import ctypes
import sys
import uuid

# cuda.h: CUDA_ERROR_NO_DEVICE, of cuInit where none is shown.
_NO_DEVICE = 100


def main(library: str) -> int:
    """Return 0 once all that are shown are printed, else the error of CUDA's driver API."""
    cuda = ctypes.CDLL(library)
    code: int = cuda.cuInit(0)
    if code == _NO_DEVICE:
        return 0
    count = ctypes.c_int()
    code = code or cuda.cuDeviceGetCount(ctypes.byref(count))
    if code:
        return code
    # Since CUDA 11.4, and of an instance of MIG its own UUID instead of its card's.
    ask = getattr(cuda, "cuDeviceGetUuid_v2", None) or cuda.cuDeviceGetUuid
    for index in range(count.value):
        device, raw = ctypes.c_int(), (ctypes.c_ubyte * 16)()
        code = cuda.cuDeviceGet(ctypes.byref(device), index) or ask(raw, device)
        if code:
            return code
        print(uuid.UUID(bytes=bytes(raw)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
