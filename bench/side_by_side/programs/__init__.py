"""One program for each contender: runs one workload and prints what it measured, as JSON.

    python -m side_by_side.programs.NAME FLAVOUR WORKLOAD FOLDER SIZES

`SIZES` is a JSON object: how much of everything. Each runs in the environment of its contender.
"""
