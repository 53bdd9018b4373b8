"""One bug to plant."""

from attrs import frozen


@frozen
class Mutant:
    """One planted bug: what it is, where it goes, what stands there, what is put there, and the test that sees it."""

    name: str
    file: str
    before: str
    after: str
    killer: str
