"""How the tables that ship are made, from facts with sources. Not part of the wheel."""
