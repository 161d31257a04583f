"""One module for each source of data: official files in, a prepared data set out.

Each module has a function `prepare`, whose signature is its command line, and runs by itself
(`python -m data_prep.table --help`). It is registered as an entry point of the group `mas_triplets.sources`.
"""
