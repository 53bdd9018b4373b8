"""The catalogue is true to the code: each place occurs once, each test is there. To plant: python -m tests.mutants."""

import ast
from pathlib import Path

import pytest

from aggmaint.testing import WarehouseSuite

from .catalogue import MUTANTS
from .mutant import Mutant

ROOT = Path(__file__).parents[2]


def test_names_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_place_occurs_once_and_the_bug_is_python(mutant: Mutant) -> None:
    sound = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert sound.count(mutant.before) == 1
    planted = sound.replace(mutant.before, mutant.after)
    assert planted != sound
    ast.parse(planted)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_test_that_sees_it_is_there(mutant: Mutant) -> None:
    file, _, test = mutant.killer.partition("::")
    name = test.partition("[")[0]
    text = (ROOT / file).read_text(encoding="utf-8")
    suite, _, check = name.partition("::")
    if check:  # one that a class has from the kit
        text += f"def {name}(" if f"class {suite}(WarehouseSuite)" in text and hasattr(WarehouseSuite, check) else ""
    assert not name or f"def {name}(" in text or f"{name} =" in text or f"class {name}" in text
