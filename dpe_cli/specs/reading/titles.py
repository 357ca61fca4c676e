"""What the titles of sections and the headings of columns mean, however an analyst words them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dpe_cli.specs.text import Text

# The first that matches counts. A title is in lower case, without a number before it and without punctuation after it.
SECTIONS: Mapping[str, str] = {
    "published columns": r"(?:published|target|output|result(?:ing)?|report) (?:columns|fields|tables?|structure|layout)|outputs?|deliverables?|what (?:is|we) publish(?:ed)?|what is published|mapping",
    "source columns": r"(?:columns|fields|attributes|layout|contents?|structure|data dictionary)\s+(?:of|in|from|for)\b.*|.*\b(?:columns|fields|layout|data dictionary)",
    "questions": r"(?:open |outstanding |unresolved )?(?:questions|points|issues|items)(?: to .*)?|to be clarified|clarifications",
    "access": r"who (?:may|can|should|is allowed to) (?:see|read|access)\b.*|who sees\b.*|access(?: control| rights)?|security|visibility|permissions?|confidentiality|row.level security",
    "acceptance": r"acceptance(?: criteria| figures| tests?| checks?)?|control (?:totals|figures)|expected (?:counts|figures|results|numbers)|figures to (?:meet|match)|how we (?:know|accept)\b.*|done when",
    "rules": r"(?:data |quality |dq |data quality |business )*(?:rules|checks|validations?|expectations)(?: .*)?|data quality|quality",
    "transformations": r"transformations?(?: .*)?|(?:business )?logic|processing(?: steps)?|calculations?|derivations?|how (?:it|the data|they) (?:is|are) (?:transformed|calculated|prepared|computed)|what (?:has to happen|happens|we do) .*|steps|requirements?|functional requirements",
    "sources": r"(?:data |input )?sources?(?: data| systems?)?|inputs?|where (?:the data|it|they) comes? from|origins?|data deliver(?:y|ies)|deliver(?:y|ies)",
    "purpose": r"purpose|goals?|objectives?|background|why|business need|motivation|summary|overview|context|introduction|user stor(?:y|ies)|need",
    "pattern": r"patterns?(?: used)?",
}

SOURCE_TABLE: Mapping[str, str] = {
    "source": r"(?:data )?source(?: name| table)?|name|table|dataset|feed|input",
    "location": r"location|where(?: it is| to find it)?|path|file|files|url|endpoint|address|place",
    "format": r"(?:file )?format|type|kind",
    "delivered": r"delivered|delivery|frequency|when|schedule|how often|arrives|refresh|due|cadence",
    "loading": r"how (?:it is |is it |to be )?load(?:ed)?|load(?:ed|ing)?(?: mode| strategy| type)?|how it is taken over|mode|disposition",
    "owner": r"owner|data owner|contact|responsible|delivered by|supplier|who answers",
    "pattern": r"pattern(?: used)?",
    "what": r"what(?: it is| it holds)?|contents?|description|meaning|holds|remarks?|comments?|purpose",
}
CONTRACT: Mapping[str, str] = {
    "column": r"(?:column|field|attribute|element)(?: name)?|name",
    "type": r"(?:data ?)?type|format|data type",
    "may be empty": r"may be empty(?:\?)?|empty(?:\?)?|null(?:able|s)?(?:\?)?|can be empty(?:\?)?|optional(?:\?)?|blank(?:s)?(?: allowed)?(?:\?)?",
    "required": r"required(?:\?)?|mandatory(?:\?)?|not null|always (?:there|filled)(?:\?)?",
    "meaning": r"meaning|description|what(?: it is| it means)?|definition|content|explanation|remarks?|comments?|notes?",
}
PUBLISHED: Mapping[str, str] = {
    "table": r"(?:target |published )?(?:table|model|report)(?: name)?",
    "column": r"(?:target |published )?(?:columns?|fields?)(?: names?)?",
    "from": r"from|origin|source(?: column)?|comes from|where (?:it comes )?from|derived from|derivation|based on|how|mapping",
    "meaning": r"meaning|description|what(?: it is)?|definition|remarks?|comments?|notes?",
}
ACCESS: Mapping[str, str] = {
    "table": r"(?:target |published )?(?:table|model|report|dataset)s?(?: name)?|what",
    "grain": r"one row(?: is| per| means)?|grain|granularity|a row(?: is)?|each row(?: is)?|row|level of detail",
    "readers": r"who (?:sees|reads|may see|can see|may read|gets)\b.*|readers?|access|visible (?:to|for)|audience|seen by|users?|who",
}
RULES: Mapping[str, str] = {
    "rule": r"rule(?: id| no\.?| number)?|id|no\.?|number|check(?: id)?|#",
    "dimension": r"(?:quality )?dimension|kind|category|aspect|type",
    "definition": r"definition|rule (?:text|definition)|description|what(?: has to hold)?|check|statement|requirement|expectation|condition",
    "severity": r"severity|level|if (?:it is )?(?:broken|it fails|violated)|stops(?: the)? publication|impact|priority|action",
    "owner": r"owner|responsible|decided by|who decides|contact|steward",
    "because": r"because|why|reason|rationale|justification|background",
    "table": r"table|model|applies to",
}
ACCEPTANCE: Mapping[str, str] = {
    "what": r"what|figure|measure|item|description|count of|check",
    "reported by": r"reported by|rule|rules|checked by",
}
_NUMBERED = re.compile(r"^(?:\d+(?:\.\d+)*[.)]?|[ivx]+[.)]|[a-z][.)])\s+")


def section(title: Text) -> str:
    """Return what a section is about, one of SECTIONS; empty if its title says nothing known."""
    return _meaning(_NUMBERED.sub("", title.lower).rstrip(" :?!."), SECTIONS)


def columns(headings: Sequence[Text], meanings: Mapping[str, str]) -> dict[str, int]:
    """Return the position of each column whose heading is understood; of two that mean the same, the first one."""
    found: dict[str, int] = {}
    for position, heading in enumerate(headings):
        if meaning := _meaning(heading.lower.rstrip(" :."), meanings, taken=found):
            found[meaning] = position
    return found


def _meaning(text: str, meanings: Mapping[str, str], taken: Mapping[str, int] | None = None) -> str:
    return next((name for name, wording in meanings.items() if name not in (taken or {}) and re.fullmatch(wording, text)), "")
