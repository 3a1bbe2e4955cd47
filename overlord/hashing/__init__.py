"""Key in, number or node index out: key hash functions, rings, hash tags. Pure."""
