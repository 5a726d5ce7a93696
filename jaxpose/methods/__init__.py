"""Methods: how a batch goes through models to named loss terms."""
