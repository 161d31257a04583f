"""Prepared data sets: their format, reader, writer, splits, pictures, and the rendered scenes."""
