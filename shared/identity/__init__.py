"""Proof of who asks: tokens, passwords, and issuers elsewhere. It knows no table and no route."""
