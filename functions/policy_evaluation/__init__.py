"""Holds every plan against policy, and reserves what an approved one will take up."""
