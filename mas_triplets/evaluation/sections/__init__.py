"""The sections of report pages, one file each: numbers in, HTML out."""
