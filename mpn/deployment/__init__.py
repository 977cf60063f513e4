"""Exports of models to other formats; `mpn.inference.exported_model` runs them."""
