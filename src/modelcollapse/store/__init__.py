"""Content-addressed store of artifacts: finished work under a key that is a hash of its recipe, shared by all runs.

An :class:`Artifact` declares what is to be built: kind, recipe, parents. Its key follows from these alone, so a plan
can name artifacts that do not exist yet. A :class:`Store` builds what is missing, once among all processes, and
returns verified folders.
"""

from modelcollapse.store.artifacts import Artifact, BuildContext, canonical_json
from modelcollapse.store.manifest import Damaged, FileRecord, Manifest, verify
from modelcollapse.store.store import Store

__all__ = ["Artifact", "BuildContext", "Damaged", "FileRecord", "Manifest", "Store", "canonical_json", "verify"]
