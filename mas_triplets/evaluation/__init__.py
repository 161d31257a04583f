"""Ranking metrics, lifelong metrics, protocols, results, reports and plots."""
