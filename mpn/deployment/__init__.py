"""Models for places without TensorFlow: exports to other formats, and engines that run them."""
