"""Contentsquare, in a room of its own. `source` is what `assemble` builds; `dictionary` and `reading` are pure."""
