"""Reads TensorBoard's event files back with TensorBoard's own reader."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG, SESSION_START_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

ALL = {"scalars": 0, "histograms": 0, "images": 0, "tensors": 0}


class Events:
    """What TensorBoard sees in a run folder."""

    def __init__(self, folder):
        self._found = EventAccumulator(str(folder / "tensorboard"), size_guidance=ALL)
        self._found.Reload()

    def scalars(self, prefix=""):
        """(tag, step) -> number; fails where a step comes twice."""
        tags = [tag for tag in self._found.Tags()["scalars"] if tag.startswith(prefix)]
        rows = [((tag, event.step), event.value) for tag in tags for event in self._found.Scalars(tag)]
        assert len(dict(rows)) == len(rows)
        return dict(rows)

    def histograms(self):
        return {tag: self._found.Histograms(tag) for tag in self._found.Tags()["histograms"]}

    def images(self):
        return {tag: self._found.Images(tag) for tag in self._found.Tags()["images"]}

    def texts(self, tag):
        return {event.step: event.tensor_proto.string_val[0].decode() for event in self._found.Tensors(tag)}

    def settings(self):
        """The hyperparameters of the run."""
        values = self._session(SESSION_START_INFO_TAG).session_start_info.hparams
        return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}

    def status(self):
        return self._session(SESSION_END_INFO_TAG).session_end_info.status

    def _session(self, tag):
        content = self._found.SummaryMetadata(tag).plugin_data.content
        return HParamsPluginData.FromString(content)
