"""Evaluation on COCO: `metrics = evaluate(Evaluation(coco="COCO", model=("small",)))`."""

from mpn.lazy import attributes_of

__all__ = ["Evaluation", "evaluate"]
__getattr__ = attributes_of(__name__, dict.fromkeys(__all__, "evaluation"))
