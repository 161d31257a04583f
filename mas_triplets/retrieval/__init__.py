"""Finding pictures by facts, and facts by a picture: the FAISS index of a run and what answers a query."""
