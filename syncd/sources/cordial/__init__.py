"""Cordial, in a room of its own. `source` is what `assemble` builds; `parameters`, `exports` and `zone` are pure."""
