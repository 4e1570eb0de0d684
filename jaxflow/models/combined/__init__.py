"""Several models as one: ensembles of equal members, committees of different ones."""
