"""Whether generated images are worth something: a question a module."""
