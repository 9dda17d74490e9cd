"""Stages that make the bundle's own parts; at full size the published parts take their place."""
