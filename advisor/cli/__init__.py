"""Parse, call, report. No domain logic here."""
