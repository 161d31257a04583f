"""What a comparison of runs is made of: which runs, their numbers, the page."""
