"""Finding the arrays in the scalars: from a list of instructions to loops over groups of alike ones."""
