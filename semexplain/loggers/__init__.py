"""Loggers that know what semexplain's runs are."""
