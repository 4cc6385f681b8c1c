"""syncd brings raw-data exports home before the vendor deletes them; start reading in `sync.py`."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nobody multiplies matrices here: numpy's threads would only spin

__version__ = "0.1.0"
