"""`why` and `why_not`, answered from a job's report and the inventory: no warehouse is needed.

Theory of operation
-------------------
A report holds one decision per candidate, and what became of each step. `why` tells the decisions about an aggregate, or
about one partition of it. `why_not` turns the question round: something was not built, refreshed or dropped, so for each
candidate it says what kept it (its reason), that it was done after all, or that its step failed. The codes of an answer are
the reasons, and those of `AnswerCode`: a closed vocabulary too.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from attrs import asdict, frozen

from .decisions import Action, Subject
from .findings import STEP_FAILED
from .quarantine import QUARANTINED

Entry = Mapping[str, Any]


class AnswerCode(StrEnum):
    """Answers that are no reasons of a plan; ANSWERS says what they mean."""

    DONE = "done"
    STEP_FAILED = STEP_FAILED
    DEFINITION_QUARANTINED = QUARANTINED
    NOT_LOOKED_AT = "not_looked_at"
    MARKED_SINCE = "marked_since"


ANSWERS: Mapping[AnswerCode, str] = {
    AnswerCode.DONE: "It was done by the job.",
    AnswerCode.STEP_FAILED: "It was tried by the job, and failed.",
    AnswerCode.DEFINITION_QUARANTINED: "It failed run after run; runs go on trying it, but nothing waits for it.",
    AnswerCode.NOT_LOOKED_AT: "The job has not looked at it: it was defined after the job.",
    AnswerCode.MARKED_SINCE: "A source is marked as changed, and no complete job has seen it yet; the next one looks.",
}


@frozen
class Answer:
    """One answer about one candidate. `code` is a reason or an AnswerCode; `partitions` those that it is about."""

    code: str
    words: str
    subject: Subject
    action: Action
    partitions: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """{"code", "words", "subject", "action", "partitions"}"""
        told = asdict(self)
        return {**told, "subject": self.subject.value, "action": self.action.value, "partitions": list(self.partitions)}


def why(details: Entry, definition_id: str, partition: str | None = None) -> list[Entry]:
    """The decisions (as `decisions_to_json` has them) about a definition, or about one partition of it."""
    mine = [each for each in details.get("decisions", ()) if each["definition_id"] == definition_id]
    if partition is None:
        return mine
    return [{**each, "partitions": [partition]} for each in mine if partition in each["partitions"]]


def why_not(
    details: Entry, definition_id: str, partition: str | None = None, *, marks: Sequence[str] = ()
) -> list[Answer]:
    """Why something about a definition, or a partition of it, was not built, refreshed or dropped by the job.

    `marks`: sources that were marked as changed since, among those that the definition reads.
    """
    asked = why(details, definition_id, partition)
    if partition is not None and not asked:
        asked = [each for each in why(details, definition_id) if each["subject"] == Subject.DEFINITION.value]
    answers = [_answer(each, details) for each in asked]
    quarantine = [
        each
        for each in details.get("findings", ())
        if each["code"] == QUARANTINED and each["definition_id"] == definition_id
    ]
    answers.extend(Answer(QUARANTINED, each["message"], Subject.DEFINITION, Action.NONE) for each in quarantine)
    if not answers:
        words = "the job has not looked at it: it came after"
        answers.append(Answer(AnswerCode.NOT_LOOKED_AT.value, words, Subject.DEFINITION, Action.NONE))
    answers.extend(_marked(each) for each in marks)
    return answers


def _marked(source: str) -> Answer:
    words = f"source {source!r} is marked as changed, and no complete job has seen it yet; the next job looks at it"
    return Answer(AnswerCode.MARKED_SINCE.value, words, Subject.DEFINITION, Action.NONE)


_NOT_DONE = frozenset({Action.NONE, Action.REPORT, Action.REFUSE, Action.DEFER})
_STEPS: Mapping[Action, str] = {Action.REMOVE: Action.REFRESH.value, Action.NOTE: Action.NOTE.value}


def _answer(entry: Entry, details: Entry) -> Answer:
    subject, action = Subject(entry["subject"]), Action(entry["action"])
    partitions = tuple(entry["partitions"])
    if action in _NOT_DONE:
        return Answer(entry["reason"], entry["words"], subject, action, partitions)
    step = _step(entry, action, details)
    if step is None:
        words = f"{entry['words']}; the job did not come to it"
        return Answer(entry["reason"], words, subject, action, partitions)
    if step["outcome"] == "failed":
        return Answer(AnswerCode.STEP_FAILED.value, f"{entry['words']}; {step['error']}", subject, action, partitions)
    return Answer(AnswerCode.DONE.value, f"it was: {entry['words']}", subject, action, partitions)


def _step(entry: Entry, action: Action, details: Entry) -> Entry | None:
    """The step that did what was decided."""
    wanted = _STEPS.get(action, action.value)
    steps: Sequence[Entry] = details.get("steps", ())
    for step in steps:
        same_instance = action is Action.BUILD or entry["instance_id"] in (None, step["instance_id"])
        if step["action"] == wanted and step["definition_id"] == entry["definition_id"] and same_instance:
            return step
    return None
