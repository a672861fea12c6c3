"""What tensor names and configs mean, by rule, for any architecture: blocks, roles, configs, vocabularies."""
