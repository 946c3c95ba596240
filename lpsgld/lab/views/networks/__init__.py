"""The pictures of notebooks 07 to 10, one module each or two; those of the other notebooks live one room up."""
