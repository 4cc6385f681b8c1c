"""Convert Experiences, in a room of its own. `source` is what `assemble` builds; `dictionary`, `paths` and `redaction`
are pure."""
