"""Do synthetic rows make a detector of boxes or masks better? Measured on a data set of one's own."""
