"""All data models by name."""

from collections.abc import Mapping

from rrwatch.calico.model import DataModel
from rrwatch.calico.v1 import V1
from rrwatch.calico.v3 import V3

MODELS: Mapping[str, DataModel] = {"calico-v1": V1, "calico-v3": V3}
