"""From a recipe to a folder of posterior samples; what the samples are worth is told in judging."""
