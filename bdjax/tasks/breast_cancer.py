"""Breast cancer, Wisconsin: malignant or benign, by 30 measures of cell nuclei."""

from bdjax.data.tables import load_sklearn
from bdjax.tasks.base import TABLES, Task

BREAST_CANCER = Task(
    name="breast_cancer",
    shape=(30,),
    num_classes=2,
    value_range=(0.0, 1.0),
    model="mlp",
    query_init={"official": (0.3, 0.2), "clipped": (0.3, 0.2)},
    modality=TABLES,
    sources={"sklearn": load_sklearn},
)
