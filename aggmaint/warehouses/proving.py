"""What the ledger may say of a table that is adopted: nothing that was not proved in the transaction's one snapshot."""

from collections.abc import Iterable, Mapping

from attrs import frozen

from ..aggregates.observation import PartitionContent
from ..aggregates.periods import Period
from ..aggregates.tokens import unverified_token
from ..warehouse import PartitionWrite


@frozen
class Proof:
    """What the ledger may say of an adopted table; see the port's `publish`."""

    written: tuple[PartitionWrite, ...]
    source_tokens: tuple[tuple[str, str], ...]

    @classmethod
    def of(
        cls,
        found: Iterable[PartitionContent],
        wanted: Iterable[PartitionContent],
        tokens: Mapping[Period, str],
        source_tokens: Iterable[tuple[str, str]],
    ) -> "Proof":
        """What the table holds, against what a recomputation from the same snapshot gives.

        A period that is equal is recorded with its source's token, another one with a token that compares with none, so
        that the next run refreshes it. Where any is not, or only the sources have it, their own tokens are not recorded
        either: the next run looks at all periods.
        """
        right = set(wanted)
        missing = {each.period for each in right}
        written = []
        for each in found:
            missing.discard(each.period)
            token = tokens.get(each.period) if each in right else None
            written.append(PartitionWrite(each.period, each.rows, token or unverified_token(each.rows), each.content))
        if missing or any(each.token == unverified_token(each.rows) for each in written):
            source_tokens = ((key, unverified_token(0)) for key, _ in source_tokens)
        return cls(tuple(written), tuple(source_tokens))
