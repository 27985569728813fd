"""The VAE's entry in the registry."""

from modelcollapse.families.options import family
from modelcollapse.families.vae.settings import (
    CHECKS,
    POPULATION_CHECKS,
    VaeSettings,
    selection_problems,
    stream_problems,
)
from modelcollapse.merges.settings import NEEDS

MEMBERS = (
    family(
        "vae",
        "modelcollapse.families.vae.family:VaeFamily",
        VaeSettings,
        forms=("images",),
        goes_with="data=mnist (or data=digits) decoding=none",
        checks=CHECKS,
        chain_checks=(stream_problems,),
        selection_checks=(selection_problems,),
        selects_training_sets=True,
        merges=tuple(NEEDS),
        populations="lineages",
        population_checks=POPULATION_CHECKS,
        shares_fits=True,
        takes_trainer_arguments=True,
        stages="modelcollapse.families.vae.stages:STAGES",
        exporter="modelcollapse.families.vae.exporting:export",
        presentation="modelcollapse.families.vae.presentation:PRESENTATION",
    ),
)
