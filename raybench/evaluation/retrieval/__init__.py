"""Image retrieval: exact search, ground truths, re-ranking, and the protocol `retrieval`."""
