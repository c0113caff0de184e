"""An SVG as a part of an HTML page: harmless, and without clashes with its neighbours. Pure.

Two drawings of one program use the same ids, and a style sheet in one reaches into the other.
So every id gets the figure's own beginning, and every rule is limited to the figure's place.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
#: what runs, loads or animates, and descriptions that matplotlib adds
_UNWANTED = {"script", "foreignObject", "iframe", "image", "a", "animate", "set", "metadata",
             "animateTransform", "animateMotion", "handler", "listener", "embed", "object"}
_PLAIN_IMAGE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=\s]+\Z")
_RULE = re.compile(r"([^{}@;]+)\{([^{}]*)\}")
_LENGTH = re.compile(r"([0-9.]+)(px|pt|in|)\Z")
_PIXELS = {"": 1.0, "px": 1.0, "pt": 4 / 3, "in": 96.0}


def inline(svg: str, place: str, label: str) -> str:
    """The ``<svg>`` element for an element with the id ``place``; ``label`` says what it shows.

    Scripts, event handlers and everything that would be loaded are left out. Raises
    ``xml.etree.ElementTree.ParseError`` when ``svg`` is no XML.
    """
    root = ET.fromstring(svg)
    _clean(root)
    names = {found.attrib["id"] for found in root.iter() if "id" in found.attrib}
    for found in root.iter():
        _rename(found, names, place)
        if found.tag == f"{{{_SVG}}}style":
            found.text = _scoped(found.text or "", place)
    root.attrib.update({"role": "img", "aria-label": label})
    _plain_names(root)
    root.set("xmlns", _SVG)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True).strip()


def natural_width(svg: str) -> float:
    """An SVG's width in CSS pixels, 0 when it does not say."""
    found = _LENGTH.match(ET.fromstring(svg).get("width", ""))
    return float(found[1]) * _PIXELS[found[2]] if found else 0.0


def _clean(parent: ET.Element) -> None:
    for child in list(parent):
        image = child.tag == f"{{{_SVG}}}image" and any(
            _PLAIN_IMAGE.match(child.get(name, "")) for name in ("href", _HREF))
        tag = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
        if not image and (not str(child.tag).startswith(f"{{{_SVG}}}") or tag in _UNWANTED):
            parent.remove(child)
        else:
            _clean(child)
    for name, value in list(parent.attrib.items()):
        plain = name.rpartition("}")[2]
        loads = plain in ("href", "src") and not value.startswith("#") \
            and not _PLAIN_IMAGE.match(value)
        if plain.startswith("on") or loads or _loads(value):
            del parent.attrib[name]


def _loads(css: str) -> bool:
    """Whether a style fetches something from outside."""
    return bool(re.search(r"url\(\s*['\"]?\s*(?!['\"]?\s*#)[^)]|@import|expression\(", css, re.I))


def _rename(found: ET.Element, names: set[str], place: str) -> None:
    for name, value in found.attrib.items():
        plain = name.rpartition("}")[2]
        if plain == "id":
            found.set(name, f"{place}-{value}")
        elif plain == "href" and value[1:] in names:
            found.set(name, f"#{place}-{value[1:]}")
        elif plain in ("aria-labelledby", "aria-describedby"):
            found.set(name, " ".join(f"{place}-{word}" for word in value.split()))
        elif "url(" in value:
            found.set(name, re.sub(r"url\(\s*['\"]?#([^)'\"]+)['\"]?\s*\)",
                                   rf"url(#{place}-\1)", value))


def _scoped(css: str, place: str) -> str:
    """Every rule limited to what is inside of ``place``."""
    if _loads(css):
        return ""

    def limited(rule: re.Match[str]) -> str:
        selectors = ",".join(f"#{place} {one.strip()}" for one in rule[1].split(","))
        return f"{selectors}{{{rule[2]}}}"

    return _RULE.sub(limited, re.sub(r"/\*.*?\*/", "", css, flags=re.S))


def _plain_names(root: ET.Element) -> None:
    """Tags and attributes as HTML's parser knows them, without namespaces."""
    for found in root.iter():
        found.tag = found.tag.rpartition("}")[2]
        for name in [name for name in found.attrib if name.startswith("{")]:
            value = found.attrib.pop(name)
            if name == _HREF:
                found.set("href", value)
            elif name.endswith("}space"):
                found.set("xml:space", value)
