"""`mpn.MultiPoseNet`: the class that TensorFlow runs, imported when it is needed."""

from mpn.deployment.folder import is_export


class MultiPoseNet:
    """`mpn.inference.multiposenet.MultiPoseNet`, without importing TensorFlow before a model needs it."""

    def __new__(cls, *args, **options):
        from mpn.inference.multiposenet import MultiPoseNet

        return MultiPoseNet(*args, **options)

    @staticmethod
    def load(model_dir, **options):
        """Loads a model directory, the name of a shipped model, or an export; see the class above for options."""
        if is_export(model_dir):
            from mpn.deployment.predictor import ExportedModel

            return ExportedModel(model_dir, **options)
        from mpn.inference.multiposenet import MultiPoseNet

        return MultiPoseNet.load(model_dir, **options)
