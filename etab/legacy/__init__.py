"""The names that the ETAB suite documented in 2022. Old import paths lead here."""
