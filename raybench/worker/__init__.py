"""What runs inside a Ray worker: one trial, its final stage, its memory."""
