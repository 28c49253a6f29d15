"""Elements written so that they stand by themselves, wherever they are put."""

from __future__ import annotations

from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from .stanzas import XML, quote


def standalone(element: ET.Element) -> str:
    """Write an element that was parsed; the root declares each namespace once.

    Writing declarations where they are needed would let a peer have a long namespace repeated at will. And
    ElementTree's own writer loses both carriage returns and the absence of a namespace.
    """
    of_elements: dict[str, None] = {}
    of_attributes: dict[str, None] = {}
    for each in element.iter():
        of_elements[_split(each.tag)[0]] = None
        for key in each.attrib:
            of_attributes[_split(key)[0]] = None
    default = _split(element.tag)[0]
    if "" in of_elements or default == XML:
        default = ""  # an element without a namespace needs it for itself, and the prefix xml is fixed
    spaces = [name for name in {**of_elements, **of_attributes} if name not in {"", XML}]
    prefixes = {name: f"n{number}:" for number, name in enumerate(spaces)}
    declared = f' xmlns="{quote(default)}"' + "".join(
        f' xmlns:{prefix[:-1]}="{quote(name)}"'
        for name, prefix in prefixes.items()
        if name != default or name in of_attributes
    )
    writer = _Writer({**prefixes, XML: "xml:", "": ""}, default)
    writer.write(element, declared)
    return "".join(writer.parts)


class _Writer:
    def __init__(self, prefixes: dict[str, str], default: str) -> None:
        self._prefixes = prefixes
        self._default = default
        self.parts: list[str] = []

    def write(self, element: ET.Element, declared: str = "") -> None:
        namespace, local = _split(element.tag)
        name = local if namespace == self._default else self._prefixes[namespace] + local
        self.parts.append(f"<{name}{declared}")
        for key, value in element.attrib.items():
            namespace, local = _split(key)
            self.parts.append(f' {self._prefixes[namespace]}{local}="{quote(value)}"')
        if not (element.text or len(element)):
            self.parts.append("/>")
            return
        self.parts.append(f">{_text(element.text)}")
        for child in element:
            self.write(child)
            self.parts.append(_text(child.tail))
        self.parts.append(f"</{name}>")


def _text(text: str | None) -> str:
    # XML 1.0 §2.11: a parser turns a carriage return that is not escaped into a line feed.
    return escape(text, {"\r": "&#13;"}) if text else ""


def _split(name: str) -> tuple[str, str]:
    namespace, brace, local = name.rpartition("}")
    return (namespace[1:], local) if brace else ("", name)
