"""Compare the logits of networks with those recorded from their authors' code.

Fills the state dict of each contract with synthetic weights, saves it in the authors' file format,
loads it by dseg.load_model and compares the logits of every case.

Example:
    python scripts/check_golden.py denseaspp161 --contracts tests/golden --cases tests/golden
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from goldens import (  # noqa: E402
    FOLDER,
    OF_GOLDEN,
    compare_cases,
    list_goldens,
    load_golden,
    read_contract,
    save_as_the_authors_do,
)

import dseg  # noqa: E402


def check(golden: str, contracts: Path, cases: Path) -> bool:
    """Print a line for every case of a golden; return True if all passed."""
    passed = []
    try:
        contract = read_contract(contracts, golden)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "authors.pth"
            save_as_the_authors_do(contract, file)
            model = load_golden(golden, file)
        for difference in compare_cases(model, cases, golden):
            passed.append(difference.passed)
            word = "pass" if difference.passed else "FAIL"
            print(f"{golden:42} {difference.case:16} {difference.worst:9.2e}  {word}", flush=True)
    except dseg.DsegError as fault:
        print(f"{golden:42} FAIL: {fault.problem}", flush=True)
        return False
    except KeyError as fault:
        print(f"{golden:42} FAIL: no entry {fault} in the registry or the contract", flush=True)
        return False
    except OSError as fault:
        print(f"{golden:42} FAIL: {fault}", flush=True)
        return False
    if not passed:
        print(f"{golden:42} {'keys and shapes':16} {'':9}  pass", flush=True)
    return all(passed)


@click.command(help=__doc__)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--contracts", type=click.Path(path_type=Path), default=FOLDER)
@click.option(
    "--cases", type=click.Path(path_type=Path), help="Default: the folder of --contracts."
)
def main(names: tuple[str, ...], contracts: Path, cases: Path | None) -> None:
    cases = cases or contracts
    wanted: list[str] = []
    for name in names:
        found = [name] if name in OF_GOLDEN else dseg.MODELS[_network(name)].goldens
        if not found:
            print(f"{name:42} has no golden")
        wanted += found
    if not names:  # all of ours; with another folder those in it that the registry names
        wanted = list_goldens(contracts)
        if cases != FOLDER:
            wanted = [g for g in wanted if g in OF_GOLDEN and (cases / f"{g}.json").is_file()]
    passed = [check(golden, contracts, cases) for golden in wanted]
    if not passed:
        print("No golden was checked.")
    sys.exit(0 if passed and all(passed) else 1)


def _network(name: str) -> str:
    from dseg.registry import find_model

    try:
        return find_model(name)
    except dseg.DsegError as fault:
        raise click.UsageError(str(fault)) from fault


if __name__ == "__main__":
    main()
