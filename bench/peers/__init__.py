"""Peers, each run beside ours in one run, in an environment of their own."""
