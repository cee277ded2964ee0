"""All data models by name, the newest one first."""

from collections.abc import Mapping

from rrwatch.calico.model import DataModel
from rrwatch.calico.v1 import V1
from rrwatch.calico.v3 import V3

MODELS: Mapping[str, DataModel] = {"calico-v3": V3, "calico-v1": V1}
