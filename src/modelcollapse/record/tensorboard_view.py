"""TensorBoard as a view of the run's own files: event files in the run folder's ``tensorboard``.

Epochs are drawn against the optimiser steps of all fits of the chain, all else against the generation, under the names
that W&B shows too. TensorBoard holds numbers in single precision. The files are written with the package
``tensorboard`` alone, as records appended to one file: what is written is there for a reader at once.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.record.identity import IMAGE_SUFFIXES, View

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

    from modelcollapse.record import ChainIdentity, Histogram, Status

FOLDER = "tensorboard"
EVENT_FILES = "events.out.tfevents."
"""How TensorBoard knows its files."""
SESSION_STATUS: Mapping[str, str] = {"finished": "STATUS_SUCCESS"}
"""Status of the run -> status of the session in the dashboard of hyperparameters, where it is not a failure."""


class TensorBoardView(View):
    """Writes scalars, histograms, samples, figures and hyperparameters as events; ``tensorboard --logdir`` shows them.

    ``training/<name>`` are the epochs, metrics have their own names, ``distributions/<name>`` are histograms,
    ``samples`` a text a generation, ``figures/<name>`` images. Hyperparameters are all settings, with the metrics of
    generation 0 as what they are compared by.
    """

    label = "TensorBoard"

    def start(self, folder: Path, identity: ChainIdentity, config: Mapping[str, Any]) -> None:
        """Delete the events of an earlier run in this folder, and begin a file."""
        place = folder / FOLDER
        place.mkdir(exist_ok=True)
        for earlier in place.glob(f"{EVENT_FILES}*"):
            earlier.unlink()
        self._events = _EventFile(place)
        self._settings = dict(_flat({**config, "identity": {"id": identity.id}}))
        self._generation: int | None = None

    def epoch(self, line: Mapping[str, float]) -> None:
        """The numbers of one epoch."""
        left_out = ("step", "cumulative_step")
        scalars = {f"training/{name}": value for name, value in line.items() if name not in left_out}
        self._events.write(_scalars(scalars), int(line["cumulative_step"]))

    def generation(
        self,
        generation: int,
        metrics: Mapping[str, float],
        *,
        histograms: Mapping[str, Histogram],
        samples: Sequence[Mapping[str, Any]],
        artifacts: Mapping[str, str],
        folders: Mapping[str, Path],
    ) -> None:
        """Metrics, histograms and samples of one finished generation, in one event."""
        if self._generation is None:
            self._events.write(_session_start(self._settings, list(metrics)), generation)
        self._generation = generation
        summary = _scalars(metrics)
        for name, drawn in histograms.items():
            summary.value.add(tag=f"distributions/{name}").histo.CopyFrom(_histogram(drawn))
        if samples:
            summary.MergeFrom(_text("samples", "\n\n---\n\n".join(map(_sample, samples))))
        self._events.write(summary, generation)

    def figure(self, path: Path) -> None:
        """An image; other formats, such as PDF, stay in the run folder."""
        if path.suffix.lower() in IMAGE_SUFFIXES:
            self._events.write(_image(f"figures/{path.stem}", path), self._generation or 0)

    def finish(self, status: Status) -> None:
        """Say how the run ended, and close the file."""
        self._events.write(_session_end(SESSION_STATUS.get(status, "STATUS_FAILURE")), self._generation or 0)
        self._events.close()


class _EventFile:
    """A file of events that are appended and flushed one by one."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        name = f"{EVENT_FILES}{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("wb")
        self._records, self._event = RecordWriter(self._file), Event
        self._append(file_version="brain.Event:2")

    def write(self, summary: Summary, step: int) -> None:
        """Append an event."""
        self._append(summary=summary, step=step)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()


def _scalars(values: Mapping[str, float]) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])


def _histogram(drawn: Histogram) -> Any:
    """The histogram of finite values; its moments are those of the bins' centres."""
    from tensorboard.compat.proto.summary_pb2 import HistogramProto

    centres = [(low + high) / 2 for low, high in zip(drawn.edges, drawn.edges[1:], strict=False)]
    weighted = list(zip(drawn.counts, centres, strict=True))
    return HistogramProto(
        min=drawn.edges[0],
        max=drawn.edges[-1],
        num=sum(drawn.counts),
        sum=sum(count * centre for count, centre in weighted),
        sum_squares=sum(count * centre**2 for count, centre in weighted),
        # Each bucket ends at its limit; the first, empty one gives the lower end of the first bin.
        bucket_limit=drawn.edges,
        bucket=(0, *drawn.counts),
    )


def _sample(sample: Mapping[str, Any]) -> str:
    """A sample as Markdown that shows its texts as they are."""
    parts = []
    for name, value in sample.items():
        indented = "\n".join(f"    {line}" for line in str(value).splitlines() or [""])
        parts.append(f"{name}:\n\n{indented}")
    return "\n\n".join(parts)


def _text(tag: str, text: str) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.plugins.text.metadata import create_summary_metadata

    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode(errors="replace")], tensor_shape=shape)
    metadata = create_summary_metadata(display_name="", description="")
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def _image(tag: str, path: Path) -> Summary:
    """The file as it is: TensorBoard shows what browsers show."""
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    with Image.open(path) as image:
        (width, height), bands = image.size, len(image.getbands())
    content = Summary.Image(height=height, width=width, colorspace=bands, encoded_image_string=path.read_bytes())
    return Summary(value=[Summary.Value(tag=tag, image=content)])


def _session_start(settings: Mapping[str, bool | float | str], metrics: Sequence[str]) -> Summary:
    """What the dashboard of hyperparameters needs of a run: which there are, their values, and the metrics."""
    from tensorboard.plugins.hparams import api_pb2, metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    experiment = api_pb2.Experiment(
        hparam_infos=[api_pb2.HParamInfo(name=name, type=_kind(value)) for name, value in settings.items()],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in metrics],
    )
    session = SessionStartInfo(start_time_secs=time.time())
    for name, value in settings.items():
        if isinstance(value, bool):
            session.hparams[name].bool_value = value
        elif isinstance(value, str):
            session.hparams[name].string_value = value
        else:
            session.hparams[name].number_value = value
    summary = _hyperparameters(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))
    start = HParamsPluginData(session_start_info=session)
    summary.MergeFrom(_hyperparameters(metadata.SESSION_START_INFO_TAG, start))
    return summary


def _session_end(status: str) -> Summary:
    from tensorboard.plugins.hparams import api_pb2, metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    session = SessionEndInfo(status=api_pb2.Status.Value(status), end_time_secs=time.time())
    return _hyperparameters(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=session))


def _hyperparameters(tag: str, content: Any) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _kind(value: bool | float | str) -> Any:
    from tensorboard.plugins.hparams import api_pb2

    kind = "BOOL" if isinstance(value, bool) else "STRING" if isinstance(value, str) else "FLOAT64"
    return api_pb2.DataType.Value(f"DATA_TYPE_{kind}")


def _flat(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, bool | float | str]]:
    """Settings by dotted name, lists as text; those without a value are left out."""
    for name, value in settings.items():
        place = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping):
            yield from _flat(value, place)
        elif isinstance(value, bool | int | float | str):
            yield place, value
        elif value is not None:
            yield place, str(value)
