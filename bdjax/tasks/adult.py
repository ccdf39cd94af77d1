"""UCI Adult: does a person earn more than 50,000 dollars a year?"""

import functools

from bdjax.data.encode import Field, column_ranges
from bdjax.data.tables import load_csv
from bdjax.tasks.base import TABLES, Task

# In the order of UCI's file; levels as UCI documents them, "?" is a missing value.
_LEVELS = {
    "age": "",
    "workclass": (
        "Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov "
        "Without-pay Never-worked ?"
    ),
    "fnlwgt": "",
    "education": (
        "Bachelors Some-college 11th HS-grad Prof-school Assoc-acdm Assoc-voc 9th "
        "7th-8th 12th Masters 1st-4th 10th Doctorate 5th-6th Preschool"
    ),
    "education-num": "",
    "marital-status": (
        "Married-civ-spouse Divorced Never-married Separated Widowed "
        "Married-spouse-absent Married-AF-spouse"
    ),
    "occupation": (
        "Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty "
        "Handlers-cleaners Machine-op-inspct Adm-clerical Farming-fishing "
        "Transport-moving Priv-house-serv Protective-serv Armed-Forces ?"
    ),
    "relationship": "Wife Own-child Husband Not-in-family Other-relative Unmarried",
    "race": "White Asian-Pac-Islander Amer-Indian-Eskimo Other Black",
    "sex": "Female Male",
    "capital-gain": "",
    "capital-loss": "",
    "hours-per-week": "",
    "native-country": (
        "United-States Cambodia England Puerto-Rico Canada Germany "
        "Outlying-US(Guam-USVI-etc) India Japan Greece South China Cuba Iran Honduras "
        "Philippines Italy Poland Jamaica Vietnam Mexico Portugal Ireland France "
        "Dominican-Republic Laos Ecuador Taiwan Haiti Columbia Hungary Guatemala "
        "Nicaragua Scotland Thailand Yugoslavia El-Salvador Trinadad&Tobago Peru Hong "
        "Holand-Netherlands ?"
    ),
}
FIELDS = tuple(Field(name, tuple(held.split())) for name, held in _LEVELS.items())
RANGES = column_ranges(FIELDS)

ADULT = Task(
    name="adult",
    shape=(RANGES[-1][1],),
    num_classes=2,
    value_range=(0.0, 1.0),
    model="mlp",
    query_init={"official": (0.3, 0.2), "clipped": (0.3, 0.2)},
    modality=TABLES,
    one_logit=True,
    fields=RANGES,
    sources={
        "csv": functools.partial(
            load_csv, fields=FIELDS, label="income", classes=("<=50K", ">50K")
        )
    },
)
