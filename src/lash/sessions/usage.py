"""Who used how many tokens: ledger entries by source and model, summed up and compared."""

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from lash.core.errors import LashError
from lash.core.json import Data
from lash.llm.usage import FIELDS, Usage

#: What tokens are spent for. A host may use words of its own beside these.
UsageSource: TypeAlias = Literal["turn", "tool", "direct", "child", "compaction"] | str  # noqa: PYI051  documents


class UsageEntry(Data):
    """Tokens that one source spent with one model.

    Attributes:
        source: What they were spent for: `turn`, `tool` (asked directly by a tool), `direct`, `child`,
            `compaction`, or the host's word.
        model: The model, as `provider:name`.
        usage: The tokens.
    """

    source: UsageSource
    model: str
    usage: Usage


class SessionUsageReport(Data):
    """What a session has used.

    Attributes:
        entry_count: How many pairs of source and model used anything.
        usage: All of it.
        total_tokens: Prompt and output together; reasoning is part of the output.
        by_source: Summed over models.
        by_model: Summed over sources.
        by_source_model: One entry for each pair, sorted by source, then by model.
    """

    entry_count: int
    usage: Usage
    total_tokens: int
    by_source: Mapping[str, Usage]
    by_model: Mapping[str, Usage]
    by_source_model: tuple[UsageEntry, ...]


def merge(entries: Iterable[UsageEntry]) -> tuple[UsageEntry, ...]:
    """One entry for each source and model, sorted, without those that used nothing.

    Raises:
        LashError: `token_usage_accounting` when a counter is negative or a sum leaves 64 bits.
    """
    sums: dict[tuple[str, str], Usage] = {}
    for entry in entries:
        key = (entry.source, entry.model)
        sums[key] = sums.get(key, Usage()) + entry.usage
    return tuple(
        UsageEntry(source=source, model=model, usage=usage)
        for (source, model), usage in sorted(sums.items(), key=lambda item: item[0])
        if usage != Usage()
    )


def report(entries: Iterable[UsageEntry]) -> SessionUsageReport:
    """Sum up a session's entries.

    Raises:
        LashError: `token_usage_accounting` when a counter is negative or a sum leaves 64 bits.
    """
    merged = merge(entries)
    total = Usage()
    by_source: dict[str, Usage] = {}
    by_model: dict[str, Usage] = {}
    for entry in merged:
        total += entry.usage
        by_source[entry.source] = by_source.get(entry.source, Usage()) + entry.usage
        by_model[entry.model] = by_model.get(entry.model, Usage()) + entry.usage
    return SessionUsageReport(
        entry_count=len(merged),
        usage=total,
        total_tokens=total.total_tokens,
        by_source=by_source,
        by_model=dict(sorted(by_model.items())),
        by_source_model=merged,
    )


def diff_usage_reports(
    earlier: SessionUsageReport, later: SessionUsageReport
) -> SessionUsageReport:
    """What was used between two reports of one session; pairs that used nothing are left out.

    Raises:
        LashError: `usage_report_decreased` when a counter of the later report is smaller.
    """
    before = {(entry.source, entry.model): entry.usage for entry in merge(earlier.by_source_model)}
    after = {(entry.source, entry.model): entry.usage for entry in merge(later.by_source_model)}
    return report(
        UsageEntry(
            source=source,
            model=model,
            usage=_difference(
                source,
                model,
                before.get((source, model), Usage()),
                after.get((source, model), Usage()),
            ),
        )
        for source, model in sorted(before.keys() | after.keys())
    )


def _difference(source: str, model: str, before: Usage, after: Usage) -> Usage:
    spent: dict[str, int] = {}
    for name in FIELDS:
        earlier, later = getattr(before, name), getattr(after, name)
        if later < earlier:
            raise LashError(
                "usage_report_decreased",
                f"The later report has fewer {name} for source {source!r} and model {model!r} "
                f"({later} after {earlier}). Give the reports of one session, the earlier one first.",
                source=source,
                model=model,
                field=name,
            )
        spent[name] = later - earlier
    return Usage(**spent)
