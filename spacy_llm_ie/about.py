"""Version and colours: what has to be readable without importing anything else."""

__title__ = "spacy-llm-ie"
__version__ = "0.1.0"

ENTITY_COLORS = {
    "PERSON": "#f2b5d4",
    "ORG": "#7bdff2",
    "GPE": "#feca74",
    "DATE": "#bfe1d9",
    "MONEY": "#b2f7b8",
    "PRODUCT": "#d8c4f5",
    "TITLE": "#ffd6a5",
}
