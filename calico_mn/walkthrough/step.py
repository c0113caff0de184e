"""The vocabulary of the story: chapters of steps, and what each step must show. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from calico_mn.walkthrough.compare import Quote, Rule
from calico_mn.walkthrough.language import Text

#: where commands are typed: parts that nodes and pods of the cluster play
NODE31, NODE32, NODE33 = "node31", "node32", "node33"
BACKEND, FRONTEND, ELSEWHERE, ROUTER = "backend", "frontend", "elsewhere", "router"
#: not a host: a change of the cluster, or a question about it, by the library
LIBRARY = "library"


@dataclass(frozen=True, slots=True)
class Expect:
    """What the output must hold (or with ``absent`` must not): a regular expression, by lines.

    ``backend``: of this tunnel back end only.
    """

    pattern: str
    says: Text
    absent: bool = False
    backend: str = ""

    def holds(self, output: str, _before: Mapping[str, str]) -> bool:
        """Whether it is so."""
        return bool(re.search(self.pattern, output, re.MULTILINE)) != self.absent


@dataclass(frozen=True, slots=True)
class Same:
    """The group of ``pattern`` in this output and of ``there`` in that of step ``step``."""

    pattern: str
    step: str
    there: str
    says: Text
    backend: str = ""

    def holds(self, output: str, before: Mapping[str, str]) -> bool:
        """Whether both are there and the same."""
        here = re.search(self.pattern, output, re.MULTILINE)
        other = re.search(self.there, before.get(self.step, ""), re.MULTILINE)
        return bool(here and other and here.group(1) == other.group(1))


@dataclass(frozen=True, slots=True)
class Wrong:
    """A statement of the article that is wrong or misleads, and what is so instead.

    ``told``: a part of the fact that this cluster cannot show, and why; None when it shows all.
    """

    code: str
    claim: Text
    fact: Text
    told: Text | None = None


@dataclass(frozen=True, slots=True)
class Typed:
    """A command line and where it is typed; it is a constant of this package, given to ``sh``."""

    place: str
    command: str


@dataclass(frozen=True, slots=True)
class Step:
    """A command with its explanation.

    ``article`` is the command as the article types it, where that is another. ``meanwhile`` is
    typed once the command, a tcpdump, listens. In :data:`LIBRARY`, ``command`` is the call of
    the library that the function named ``action`` makes.
    """

    name: str
    typed: Typed
    about: Text
    article: str = ""
    quotes: tuple[Quote, ...] = ()
    rules: tuple[Rule, ...] = ()
    expects: tuple[Expect | Same, ...] = ()
    meanwhile: Typed | None = None
    wrong: Wrong | None = None
    action: str = ""
    argument: str = ""


#: the clusters that chapters play on
AS_IT_IS, AUTOMATIC_MTU, TWO_SUBNETS = "as it is", "automatic MTU", "two subnets"


@dataclass(frozen=True, slots=True)
class Chapter:
    """Steps that belong together and need no other chapter.

    ``cluster`` is the one it plays on; ``spoils``: afterwards it is not what it was.
    """

    title: Text
    steps: tuple[Step, ...]
    cluster: str = AS_IT_IS
    spoils: bool = False
