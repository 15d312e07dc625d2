"""How people and machines are told: who, when, in which form and over which wire."""
