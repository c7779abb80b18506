"""One file per method; :mod:`certify.unlearners.registry` knows them by name."""
