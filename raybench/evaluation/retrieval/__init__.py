"""Image retrieval: embeddings, exact ranks, query expansion, re-ranking, and the protocol `retrieval`."""
