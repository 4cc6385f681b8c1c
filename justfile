# One door: `just` is what CI runs. Everything else is one line each.
set shell := ["bash", "-euo", "pipefail", "-c"]

export PATH := justfile_directory() / ".venv/bin:" + env("PATH")
export VIRTUAL_ENV := justfile_directory() / ".venv"
export UV_PYTHON_DOWNLOADS := "never"
export PYTHONDONTWRITEBYTECODE := ""  # the tests start syncd a thousand times: compiled once, not each time
compile := "uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header pyproject.toml"

# lint, types, tests
default: setup readers lint types test

# everything that is needed, by its hash
setup:
    @uv pip install --quiet --compile-bytecode --require-hashes --requirement requirements-dev.txt
    @uv pip install --quiet --no-deps --editable .

# other DuckDBs, as analysts have them: what the tests open the warehouse with
readers:
    @for lock in tests/readers/*.txt; do folder="build/readers/$(basename "$lock" .txt)"; \
        cmp --quiet "$lock" "$folder/lock" || { uv pip install --quiet --target "$folder" --require-hashes --requirement "$lock" && cp "$lock" "$folder/lock"; }; done

lint:
    ruff format --check .
    ruff check .
    @just is-locked requirements.txt
    @just is-locked requirements-image.txt --all-extras
    @just is-locked requirements-dev.txt --group dev
    @just is-locked requirements-bench.txt --group bench

# whether a lock file is what would be written now
[private]
is-locked file *group:
    @made=$(mktemp) && {{compile}} {{group}} --constraint {{file}} --output-file "$made" && diff {{file}} "$made" && rm "$made" || { echo "{{file}} is stale: just lock"; exit 1; }

types:
    mypy

test *arguments:
    pytest -n auto --dist worksteal {{arguments}}

# put right what can be put right by itself
fix:
    ruff check --fix .
    ruff format .

# write the locked versions anew
lock *arguments:
    {{compile}} --output-file requirements.txt {{arguments}}
    {{compile}} --all-extras --constraint requirements.txt --output-file requirements-image.txt {{arguments}}
    {{compile}} --group dev --constraint requirements-image.txt --output-file requirements-dev.txt {{arguments}}
    {{compile}} --group bench --constraint requirements.txt --output-file requirements-bench.txt {{arguments}}

# stop syncd anywhere, cut the power, start it again, compare; --kind faults: let the disk refuse; --some 20: a sample
crash *arguments: setup
    python -m tests.crash {{arguments}}

# the daemon, a vendor full of trouble and sixteen readers, for a long time
soak *arguments: setup
    python -m tests.crash.soak {{arguments}}

# what the README runs first: no account needed
demo: setup
    syncd demo

# mirror a folder of real exports over HTTP and compare every figure with its README
traffic folder:
    python bench/traffic.py {{folder}}

# staging beside DuckDB, pyarrow, polars and dlt on the same files; bench/README.md has the others' words
bench *arguments: bench-venv
    bench/.venv/bin/python bench/speed.py {{arguments}}

# the memory of staging, from 100 MB to 4 GB of lines
bench-memory *arguments: bench-venv
    bench/.venv/bin/python bench/memory.py {{arguments}}

# where the time goes
bench-profile *arguments: bench-venv
    bench/.venv/bin/python bench/where.py {{arguments}}

# what one bad or odd line in every 1,000 costs
bench-bad-lines *arguments: bench-venv
    bench/.venv/bin/python bench/bad_lines.py {{arguments}}

# what DuckDB reads for a stretch of event time
bench-skipping *arguments: bench-venv
    bench/.venv/bin/python bench/skipping.py {{arguments}}

# one day out of three years of 200 columns, in an analyst's process: seconds, opens, bytes, memory
bench-query *arguments:
    python bench/query.py {{arguments}}

# five years of 200 jobs lived through day by day: what grows, and what all costs then
bench-scale *arguments:
    python bench/scale.py {{arguments}}

# a sweep over a vendor that lists 1.7 million runs: requests, seconds, memory
bench-discovery *arguments:
    python bench/discovery.py {{arguments}}

# the bench's own: rivals never come into the venv of the product
[private]
bench-venv:
    @uv venv --quiet --allow-existing --python .venv/bin/python bench/.venv
    @VIRTUAL_ENV=bench/.venv uv pip install --quiet --compile-bytecode --require-hashes --requirement requirements-bench.txt

# the reader in C under AddressSanitizer and UBSan: nasty files, then so many mutated blocks of each kind
sanitize blocks="3000":
    nice -n 19 python bench/sanitize.py {{blocks}}

# coverage-guided fuzzing of the parser; findings stay in build/fuzz; then all that brought something new is judged in full
fuzz minutes="10":
    test -x build/fuzz/venv/bin/python || uv venv --quiet build/fuzz/venv
    uv pip install --quiet --python build/fuzz/venv/bin/python --requirement requirements.txt 'atheris>=3'
    uv pip install --quiet --python build/fuzz/venv/bin/python --no-deps --editable .
    nice -n 19 build/fuzz/venv/bin/python bench/fuzz_parse.py build/fuzz $(({{minutes}} * 60))
    find build/fuzz/corpus -type f -exec nice -n 19 build/fuzz/venv/bin/python bench/fuzz_parse.py {} +
