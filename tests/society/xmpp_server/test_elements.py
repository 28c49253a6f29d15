"""What is written anew means what was read."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from society.xmpp_server.elements import standalone

NAMES = st.sampled_from(["a", "b", "{urn:x}a", "{urn:y}b", "{http://www.w3.org/XML/1998/namespace}lang"])
TEXTS = st.text(st.sampled_from("x<>&\"'\r\n\t ]é\U0001f600"), max_size=6)


def element(
    name: str, attributes: dict[str, str], text: str, tail: str, children: list[ET.Element]
) -> ET.Element:
    made = ET.Element(name, attributes)
    made.text, made.tail = text, tail
    made.extend(children)
    return made


ELEMENTS = st.recursive(
    st.builds(element, NAMES, st.dictionaries(NAMES, TEXTS, max_size=2), TEXTS, TEXTS, st.just([])),
    lambda inner: st.builds(
        element,
        NAMES,
        st.dictionaries(NAMES, TEXTS, max_size=2),
        TEXTS,
        TEXTS,
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
)


def facts(each: ET.Element) -> object:
    return (
        each.tag,
        dict(each.attrib),
        each.text or "",
        [(facts(child), child.tail or "") for child in each],
    )


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(ELEMENTS)
def test_it_is_the_same_wherever_it_is_put(root: ET.Element) -> None:
    written = standalone(root)
    for around in ("{}", "<z xmlns='urn:z'>{}</z>", "<x:z xmlns='urn:y' xmlns:x='urn:x'>{}</x:z>"):
        whole = ET.fromstring(around.format(written))
        found = whole if around == "{}" else whole[0]
        assert facts(found) == facts(root)


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("<acl xmlns='urn:x'>a&#13;b</acl>", '<acl xmlns="urn:x">a&#13;b</acl>'),
        ("<p:a xmlns:p='urn:x'><p:b/></p:a>", '<a xmlns="urn:x"><b/></a>'),
        ("<p:a xmlns:p='urn:x' p:c='1' d='2'/>", '<a xmlns="urn:x" xmlns:n0="urn:x" n0:c="1" d="2"/>'),
        ("<a/>", '<a xmlns=""/>'),
        ("<a xmlns='urn:x' xml:lang='en'/>", '<a xmlns="urn:x" xml:lang="en"/>'),
        ("<xml:a/>", '<xml:a xmlns=""/>'),
    ],
)
def test_it_is_short(read: str, written: str) -> None:
    assert standalone(ET.fromstring(read)) == written
