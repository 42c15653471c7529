"""Who may ask, and what they may do: logins, accounts, role bindings."""
