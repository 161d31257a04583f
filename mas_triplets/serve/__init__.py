"""An index as a web page and a JSON API: one model and one index, loaded once, for everybody who asks."""
