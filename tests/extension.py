"""A small installed package that extends the laboratory, for tests: written into a folder that stands on the path."""

import os

REGISTRATION = """
import modelcollapse as mc


@mc.regime("lab_every", label="every k-th", version=3)
class Every:
    k: int = 2

    def compose(self, generation: int) -> list[mc.Draw]:
        return [mc.Draw.real()] if generation % self.k == 0 else [mc.Draw.latest()]
"""
MIXED = """# Half of the real rows in every generation.
defaults:
  - older
  - _self_

name: lab_mixed
real: 0.5
"""
ENTRY_POINTS = """[modelcollapse.regimes]
lab = my_lab.registration

[modelcollapse.conf]
lab = my_lab.conf
"""
BROKEN = """
[modelcollapse.metrics]
lost = my_lab.nowhere
"""


def install(folder, *, registration=REGISTRATION, files=(("regime/lab_mixed", MIXED),), more=""):
    """Write the distribution ``my-lab 1.2`` into the folder; returns the environment that finds it there."""
    package, information = folder / "my_lab", folder / "my_lab-1.2.dist-info"
    for place in (package, information):
        place.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "registration.py").write_text(registration)
    for name, text in files:
        file = package / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lab\nVersion: 1.2\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS + more)
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
