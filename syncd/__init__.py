"""syncd brings raw-data exports home before the vendor deletes them; start reading in `sync.py`."""

__version__ = "0.1.0"
