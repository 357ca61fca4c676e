"""Link headers: every form that the standard allows leads to the next page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.api_source import answers, api_source, ids_of
from support.misbehaving_api import Answer, Api
from support.staged_source import Stage

from dpe_cli.errors import InputError

pytestmark = pytest.mark.usefixtures("pauses")


# Each form of a Link header that leads to the next page, at {}; several lines are several headers.
LINKS: list[str | list[str]] = [
    '<{}>; rel="next"',
    "<{}>; rel=next",
    '<{}>; rel="next last"',
    '<{}>; rel="prev\tnext"',
    '<{}>; REL="next"',
    '<{}>; rel="Next"',
    "<{}> ; rel = NEXT ;",
    '<{}&q=a;b,c>; rel="next"',
    '</first>; rel="first"; title="a;b, <c>; rel=\\"next\\"", <{}>; rel=next',
    [", ,</first>; rel=first", '</last>; rel=last, <{}>; title="next, but; not last"; rel=next'],
    '<{}>; rel="next", <{}>; rel="https://rels.example/more next"',
    '<{}>; rel="next"; rel="prev"',
    '<{}>; rel="next"; anchor="/records/header"',
    '</other?at=0>; rel="next"; anchor="/other", <{}>; rel="next"',
]


NOT_NEXT = [
    '</records/header?at=0>; rel="next"; anchor="/other"',
    '</records/header?at=0>; rel="next"; anchor="#part"',
    '</records/header?at=0>; rel="prev"; rel="next"',
    '</records/header?at=0>; rev="next"; title="rel=next"; rel="https://rels.example/#next nextpage"',
]


@pytest.mark.parametrize("target", ["{url}/records/header?at={at}", "/records/header?at={at}", "header?at={at}", "?at={at}"])
def test_a_link_header_is_read_in_every_form(stage: Stage, api: Api, target: str) -> None:
    """As in RFC 8288; a link that is about something else, or has another relation, does not lead on."""
    api.records = [{"id": number, "changed_at": "2024-01-01"} for number in range(10 * len(LINKS) + 10)]

    def link(at: int, form: str | list[str]) -> Callable[[Answer], Answer]:
        here = target.format(url=api.url, at=at)
        lines = [line.replace("{}", here) for line in ([form] if isinstance(form, str) else form)]
        return answers(headers={"Link": lines})

    api.faults = [*(link(at, form) for at, form in enumerate(LINKS, 1)), answers(headers={"Link": NOT_NEXT})]
    source = api_source(stage, api, "header")
    source.extract()

    assert [None, *map(str, range(1, len(LINKS) + 1))] == [request.query.get("at") for request in api.requests]
    assert list(range(len(api.records))) == ids_of(source)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["/records/header?at=1; rel=next"], r"page 1: its Link header is not valid \(RFC 8288\); nothing was loaded"),
        (["<?at=1; rel=next"], r"page 1: its Link header is not valid \(RFC 8288\)"),
        (['<?at=1>; rel="next'], r"page 1: its Link header is not valid \(RFC 8288\)"),
        (["<?at=1> rel=next"], r"page 1: its Link header is not valid \(RFC 8288\)"),
        (["<?at=1>; rel=next", "<?at=2>; rel=next"], "page 1: its Link headers name more than one next page"),
        (["<http://[::1>; rel=next"], "its link is not a valid address"),
        (["<>; rel=next"], "page 1 leads back to an earlier page"),
    ],
)
def test_a_link_header_that_does_not_say_what_is_next_is_refused(stage: Stage, api: Api, lines: list[str], said: str) -> None:
    """The first page alone would look like all."""
    api.faults = [answers(headers={"Link": lines})]

    with pytest.raises(InputError, match=said):
        api_source(stage, api, "header").extract()
