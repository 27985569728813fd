"""Finished work, named by the recipe that produced it, shared by all runs and by concurrent processes.

A :class:`Artifact` says what something is made of and how; its key follows from the recipe alone, so a plan can
name what does not exist yet. A :class:`Store` makes what is missing, once, whoever asks, and hands back
verified folders.
"""

from modelcollapse.store.artifacts import Artifact, BuildContext, canonical_json
from modelcollapse.store.manifest import Damaged, FileRecord, Manifest, verify
from modelcollapse.store.store import Store

__all__ = ["Artifact", "BuildContext", "Damaged", "FileRecord", "Manifest", "Store", "canonical_json", "verify"]
