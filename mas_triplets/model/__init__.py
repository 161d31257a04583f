"""The joint embedding: image encoders, text encoders, slots, losses."""
