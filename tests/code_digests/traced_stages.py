"""Which code of the project a stage runs, found by tracing every call."""

import sys
import threading
from pathlib import Path

from modelcollapse.code_digests import house
from modelcollapse.families import stage as stages
from modelcollapse.registry import KINDS, registry


class TracedStages:
    """While it is installed, notes the functions of the project that each stage calls."""

    def __init__(self, monkeypatch):
        self.calls = {}
        self._run = stages._run
        monkeypatch.setattr(stages, "_run", self._traced)

    def _traced(self, function, stage_context, arguments, context):
        found = self.calls.setdefault(function, set())

        def note(frame, event, argument):
            found.add(frame.f_code)

        before = sys.gettrace()
        sys.settrace(note)
        threading.settrace(note)
        try:
            self._run(function, stage_context, arguments, context)
        finally:
            threading.settrace(None)
            sys.settrace(before)

    def undeclared(self, family):
        """What a stage of a family ran that neither its digest nor a member's covers, and that is not neutral."""
        members = members_modules()
        return sorted(
            f"{declared.name} runs {module}:{code.co_qualname}"
            for declared in stages.stages_of(family)
            for module, code in modules_of(self.calls.get(declared.function, ()))
            if module not in {*house.closure_of(declared.code), *members} and not house.neutral().has_module(module)
        )


def members_modules():
    """The modules that digests of the package's own members cover."""
    found = set()
    for kind in KINDS:
        if kind != "families":
            for member in registry(kind).members():
                if member.is_built_in and member.implementation is not None:
                    found |= set(house.closure_of((member.implementation,)))
    return found


def modules_of(codes):
    for code in codes:
        path = Path(code.co_filename)
        if house.FOLDER in path.parents:
            parts = path.relative_to(house.FOLDER).with_suffix("").parts
            yield ".".join((house.PACKAGE, *parts)).removesuffix(".__init__"), code
