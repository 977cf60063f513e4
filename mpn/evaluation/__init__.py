"""Evaluation on COCO: `metrics = evaluate(Evaluation(coco="COCO", model=("small",)))`."""

__all__ = ["Evaluation", "evaluate"]


def __getattr__(name):
    if name in __all__:  # only then, since it imports TensorFlow
        from mpn.evaluation import evaluation

        return getattr(evaluation, name)
    raise AttributeError(f"module 'mpn.evaluation' has no attribute {name!r}")
