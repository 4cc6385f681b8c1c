# One door: `just` is lint, types, tests. Everything else is one line each.
set shell := ["bash", "-euo", "pipefail", "-c"]

bin := justfile_directory() / ".venv/bin"

default: lint types test
