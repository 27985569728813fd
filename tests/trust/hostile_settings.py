"""Random hostile settings, each beside its twin without the hostile part."""

import random
from dataclasses import dataclass, field, replace

SECRET_VARIABLE, SECRET = "COLOUR_OF_THE_DAY", "not-for-anybody-else"
"""A variable that is not named like a secret: no setting may read it all the same."""
PLUGIN_RESOLVER = "planted_copy"
"""Of a plugin: it copies a file."""

CREATED = "{_target_:shutil.copyfile,src:SOURCE,dst:MARKER}"
PAYLOADS = (
    f"${{oc.create:{CREATED}}}",
    '${oc.decode:"{_target_:shutil.copyfile}"}',
    f"${{oc.env:{SECRET_VARIABLE}}}",
    f"${{oc.env:NOT_SET_ANYWHERE,${{oc.env:{SECRET_VARIABLE}}}}}",
    f"${{env:{SECRET_VARIABLE}}}",
    f"${{oc.select:nothing,{CREATED}}}",
    f"${{oc.select:nothing,${{oc.env:{SECRET_VARIABLE}}}}}",
    f"${{oc.deprecated:${{oc.env:{SECRET_VARIABLE}}}}}",
    "${oc.dict.values:hydra.job}",
    "${oc.dict.keys:hydra.job}",
    f"${{{PLUGIN_RESOLVER}:SOURCE,MARKER}}",
)
WRAPPINGS = (
    "PAYLOAD",
    "PAYLOAD",
    "before PAYLOAD",
    "PAYLOAD${hydra:job.num}",
    "${hydra:job.num}PAYLOAD",
    "${now:PAYLOAD}",
    "${hydra:PAYLOAD}",
    "${oc.env:MODELCOLLAPSE_STORE,PAYLOAD}",
    "PAYLOADPAYLOAD",
    "${oc.${hydra:job.name}:" + SECRET_VARIABLE + "}",
    "${${hydra:job.name}.create:" + CREATED + "}",
)
DIRECT = (
    ("_target_: shutil.copyfile", "src: 'SOURCE'", "dst: 'MARKER'"),
    ("_target_: builtins.eval", '_args_: [\'open("MARKER", "w")\']'),
    ("_target_: hydra.utils.call", "_args_: [{_target_: shutil.copyfile, src: 'SOURCE', dst: 'MARKER'}]"),
    ("x: {_target_: shutil.copyfile, src: 'SOURCE', dst: 'MARKER', _partial_: false}",),
)
"""What calls a function by itself, line by line."""
TAGS = (
    "!!python/object/apply:shutil.copyfile ['SOURCE', 'MARKER']",
    "!!python/object/new:os.system ['touch MARKER']",
    "!!python/name:os.system ''",
    "!!python/module:antigravity ''",
    "!!python/object/apply:os.getenv ['" + SECRET_VARIABLE + "']",
)
TEXTS = ("name", "data.name", "tracking.project", "tracking.notes", "tracking.group", "paths.store")
"""Settings of the chain that take a text."""
VALUES = ("data.rows", "seed", "generations", "model.replicates", "regime.name", "trainer.accelerator", "store.keep")
"""Settings of the chain that take something else, with what they take."""
WORDS = {"tracking.project": "words"}
"""What a setting takes that takes no path."""
TAKEN = ("20", "3", "2", "2", "replace", "cpu", "all")
HYDRA_TEXTS = ("hydra.job.name", "hydra.help.header", "hydra.help.app_name", "hydra.sweep.subdir", "hydra.run.dir")
NEW_NODES = ("hydra.callbacks.planted", "hydra.launcher.planted", "hydra.sweeper.planted", "hydra.job_logging.planted")
LOG = "hydra.job_logging.handlers.planted"
LOGGED = (
    "{(): shutil.copyfile, src: 'SOURCE', dst: 'MARKER'}",
    "{class: logging.config.fileConfig, fname: 'MARKER'}",
    "{class: logging.handlers.SocketHandler, host: localhost, port: 9}",
    "{class: logging.StreamHandler, stream: 'ext://antigravity.fly'}",
    "{class: logging.StreamHandler, stream: 'cfg://planted'}",
    "{class: 'PAYLOAD'}",
    "{class: logging.FileHandler, filename: 'PAYLOAD'}",
)
HARMLESS_LOG = "{class: logging.NullHandler}"


@dataclass(frozen=True)
class Hostile:
    """Arguments and files of a command; in ``twin`` the same without what is hostile."""

    kind: str
    arguments: tuple[str, ...]
    place: str
    """What a refusal has to name."""
    files: dict[str, str] = field(default_factory=dict)
    """Path below the folder of files -> content."""
    configuration: str = "train"
    twin: "Hostile | None" = None

    def planted(self, source, marker, folder):
        """This one with the paths that it copies from and to, and the folder of its files."""
        names = {"SOURCE": str(source), "MARKER": str(marker), "FOLDER": str(folder)}

        def put(text):
            for name, value in names.items():
                text = text.replace(name, value)
            return text

        files = {"mine/README": "a folder of settings", **{path: put(text) for path, text in self.files.items()}}
        return replace(self, arguments=tuple(map(put, self.arguments)), files=files)


def hostile_settings(count, seed):
    """So many of them, the kinds in turn."""
    drawn = random.Random(seed)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        hostile = kind(drawn)
        more = drawn.choice(((), (), ("objective=null",), ("-m",)))
        words = more if hostile.configuration == "train" or more != ("-m",) else ()
        yield replace(
            hostile,
            arguments=(*hostile.arguments, *words),
            twin=replace(hostile.twin, arguments=(*hostile.twin.arguments, *words)),
        )


def _interpolation(drawn):
    return drawn.choice(WRAPPINGS).replace("PAYLOAD", drawn.choice(PAYLOADS))


def _harmless(place):
    return WORDS.get(place, "FOLDER/words")


def _quoted(text):
    """A value of Hydra's grammar."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _twins(kind, place, bad, good, drawn):
    """A typed setting and its twin."""
    configuration = drawn.choice(("train", "train", "sweep"))
    return Hostile(kind, bad, place, {}, configuration, Hostile(kind, good, place, {}, configuration))


def _in_files(kind, place, arguments, bad, good, drawn):
    configuration = drawn.choice(("train", "train", "sweep"))
    return Hostile(kind, arguments, place, bad, configuration, Hostile(kind, arguments, place, good, configuration))


def _text(drawn):
    place = drawn.choice(TEXTS)
    bad = f"{place}={_quoted(_interpolation(drawn))}"
    return _twins("a text", place, (bad,), (f"{place}={_harmless(place)}",), drawn)


def _value(drawn):
    place, taken = drawn.choice([*zip(VALUES, TAKEN, strict=True)])
    return _twins("a value", place, (f"{place}={_quoted(_interpolation(drawn))}",), (f"{place}={taken}",), drawn)


def _of_hydra(drawn):
    place = drawn.choice(HYDRA_TEXTS)
    good = f"{place}=FOLDER/words" if place == "hydra.run.dir" else f"{place}=words"
    return _twins("a text of Hydra", place, (f"{place}={_quoted(_interpolation(drawn))}",), (good,), drawn)


def _new_node(drawn):
    place = drawn.choice(NEW_NODES)
    bad = f"+{place}={{a:{_quoted(_interpolation(drawn))}}}"
    return _twins("a new node", place, (bad,), (f"+{NEW_NODES[0]}={{}}",), drawn)


def _in_a_list(drawn):
    place = drawn.choice(("tracking.tags", "metrics.remove", "callbacks", "logger"))
    value = _quoted(_interpolation(drawn))
    item = drawn.choice((value, f"{{name:{value}}}", f"{{a:[{value}]}}"))
    return _twins("an item of a list", place, (f"{place}=[{item}]",), (f"{place}=[]",), drawn)


def _log(drawn):
    content = drawn.choice(LOGGED).replace("PAYLOAD", drawn.choice(PAYLOADS))
    bad, good = (f"{LOG}: {each}" for each in (content, HARMLESS_LOG))
    return _experiment("the log", LOG, bad, good, drawn)


def _call(drawn):
    """A call by ``_target_``, somewhere."""
    place = drawn.choice((*NEW_NODES, "model", "data", "regime", "trainer", "tracking", "hydra.sweeper.sampler"))
    bad = f"{place}: {{{', '.join(drawn.choice(DIRECT))}}}"
    return _experiment("a call", place, bad, f"{NEW_NODES[0]}: {{}}", drawn)


def _tag(drawn):
    """A tag of YAML, in the file that the command reads."""
    place = drawn.choice(TEXTS)
    return _experiment("a tag", "", f"{place}: {drawn.choice(TAGS)}", f"{place}: {_harmless(place)}", drawn)


def _written(drawn):
    """An interpolation in an experiment's file."""
    place = drawn.choice((*TEXTS, *HYDRA_TEXTS))
    bad = f"{place}: {_yaml(_interpolation(drawn))}"
    return _experiment("a file's text", place, bad, f"{place}: {_harmless(place)}", drawn)


def _yaml(text):
    return "'" + text.replace("'", "''") + "'"


def _experiment(kind, place, bad, good, drawn):
    """An option of ``experiment`` in a folder of the user's, that is found in one of several ways."""
    head = "# @package _global_\ndefaults:\n  - paper_gaussian\n  - _self_\n"
    arguments = drawn.choice(
        (
            ("--config-dir=FOLDER/mine", "experiment=planted"),
            ("-cd", "FOLDER/mine", "experiment=planted"),
            ("hydra.searchpath=[FOLDER/mine]", "experiment=planted"),
        )
    )
    files = [{"mine/experiment/planted.yaml": head + _nested(line)} for line in (bad, good)]
    return _in_files(kind, place, arguments, *files, drawn)


def _nested(line):
    """``a.b: c`` as mappings in mappings."""
    path, _, value = line.partition(": ")
    *groups, name = path.split(".")
    lines = [f"{'  ' * depth}{group}:" for depth, group in enumerate(groups)]
    return "\n".join([*lines, f"{'  ' * len(groups)}{name}: {value}"]) + "\n"


def _defaults(drawn):
    """A defaults list, which Hydra resolves before anything is composed."""
    value = _yaml(drawn.choice(PAYLOADS[2:9]))
    item = drawn.choice((f"/regime: {value}", f"override /regime: {value}", f"optional {value}", f"/model@x: {value}"))
    head = "# @package _global_\ndefaults:\n  - paper_gaussian\n"
    bad, good = (f"{head}  - {line}\n  - _self_\n" for line in (item, "override /regime: replace"))
    arguments = ("--config-dir=FOLDER/mine", "experiment=planted")
    files = ({"mine/experiment/planted.yaml": each} for each in (bad, good))
    return _in_files("a defaults list", "", arguments, *files, drawn)


def _search_path(drawn):
    value = _quoted(drawn.choice(PAYLOADS[2:9]))
    bad, good = f"hydra.searchpath=[{value}]", "hydra.searchpath=[FOLDER]"
    return _twins("a search path", "hydra.searchpath", (bad,), (good,), drawn)


def _sweep(drawn):
    """Values of a grid."""
    value = _interpolation(drawn)
    if drawn.random() < 0.5:
        files = [
            {
                "mine/experiment/planted.yaml": "# @package _global_\ndefaults:\n  - paper_gaussian\n  - _self_\n"
                f"hydra:\n  sweeper:\n    params:\n      name: {text}\n"
            }
            for text in (_yaml(value), "a,b")
        ]
        arguments = ("--config-dir=FOLDER/mine", "experiment=planted")
        twins = [Hostile("a grid", arguments, "", each, "sweep") for each in files]
    else:
        twins = [Hostile("a grid", (f"name=a,{text}",), "", {}, "sweep") for text in (_quoted(value), "b")]
    return replace(twins[0], twin=twins[1])


def _variable(drawn):
    name = drawn.choice(("LD_PRELOAD", "PYTHONPATH", "PYTHONSTARTUP", "MODELCOLLAPSE_SCRIPT", "BASH_ENV", "HF_TOKEN"))
    place = f"hydra.job.env_set.{name}"
    good = "+hydra.job.env_set.OMP_NUM_THREADS='1'"
    return _twins("a variable", place, (f"+{place}=SOURCE",), (good,), drawn)


KINDS = (
    _text,
    _value,
    _of_hydra,
    _new_node,
    _in_a_list,
    _log,
    _call,
    _tag,
    _written,
    _defaults,
    _search_path,
    _sweep,
    _variable,
)
