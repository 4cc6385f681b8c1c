# One door: `just` is what CI runs. Everything else is one line each.
set shell := ["bash", "-euo", "pipefail", "-c"]

export PATH := justfile_directory() / ".venv/bin:" + env("PATH")
export VIRTUAL_ENV := justfile_directory() / ".venv"
export UV_PYTHON_DOWNLOADS := "never"
compile := "uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header pyproject.toml"

# lint, types, tests
default: setup lint types test

# everything that is needed, by its hash
setup:
    @uv pip install --quiet --require-hashes --requirement requirements-dev.txt
    @uv pip install --quiet --no-deps --editable .

lint:
    ruff format --check .
    ruff check .
    {{compile}} --output-file - --constraint requirements.txt | diff requirements.txt - || { echo "requirements.txt is stale: just lock"; exit 1; }
    {{compile}} --group dev --output-file - --constraint requirements-dev.txt | diff requirements-dev.txt - || { echo "requirements-dev.txt is stale: just lock"; exit 1; }

types:
    mypy

test *arguments:
    pytest -n auto {{arguments}}

# put right what can be put right by itself
fix:
    ruff check --fix .
    ruff format .

# write the locked versions anew
lock *arguments:
    {{compile}} --output-file requirements.txt {{arguments}}
    {{compile}} --group dev --constraint requirements.txt --output-file requirements-dev.txt {{arguments}}

# what the README runs first: no account needed
demo: setup
    syncd demo

# mirror a folder of real exports over HTTP and compare every figure with its README
traffic folder:
    python bench/traffic.py {{folder}}
